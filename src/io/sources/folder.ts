/**
 * A folder of images, recursively. Order and labels are torchvision's ImageFolder's: by class (the first
 * folder), then by the folder's path, then by file name, all compared by code point (which is the order of
 * UTF-8 bytes). Names are read as bytes, so that any name the file system allows is listed. Nothing is
 * held but sorted runs of names (external-sort.ts).
 */

import { isUtf8 } from 'node:buffer'
import type { Dirent } from 'node:fs'
import { opendir, realpath, stat } from 'node:fs/promises'
import path from 'node:path'
import { systemCode, VtpError } from '../../errors.js'
import type { ListingEntry, Source } from '../../types.js'
import { createExternalSorter, type ExternalSorter } from '../external-sort.js'
import { readLocation } from './read-file.js'

/** File name extensions that are taken for images. */
export const IMAGE_EXTENSIONS = [
  '.jpg',
  '.jpeg',
  '.jpe',
  '.png',
  '.webp',
  '.gif',
  '.bmp',
  '.tif',
  '.tiff',
  '.ppm',
  '.pgm',
  '.pbm',
  '.pnm',
]

/** Whether a name ends like an image's. */
export function isImageName(name: string): boolean {
  const dot = name.lastIndexOf('.')
  return dot >= 0 && IMAGE_EXTENSIONS.includes(name.slice(dot).toLowerCase())
}

/** A name for people and for keys: bytes that are not UTF-8 as \xNN. */
export function displayName(bytes: Buffer): string {
  if (isUtf8(bytes)) return bytes.toString('utf8')
  let out = ''
  for (let at = 0; at < bytes.length; ) {
    // The longest valid character here, else one escaped byte.
    const length = [1, 2, 3, 4].find((n) => at + n <= bytes.length && isUtf8(bytes.subarray(at, at + n)))
    out += length ? bytes.toString('utf8', at, at + length) : `\\x${bytes[at]!.toString(16).padStart(2, '0')}`
    at += length ?? 1
  }
  return out
}

const SLASH = Buffer.from('/')
const NUL = Buffer.from([0])
/** Marks an entry that is no regular file. */
const SPECIAL = Buffer.from([1])

export interface FolderOptions {
  /** Records per sorted run; tests make it small. */
  runRecords?: number
  maxBytes?: number
}

export async function openFolder(folder: string, options: FolderOptions = {}): Promise<Source> {
  const root = path.resolve(folder)
  const state = { ignored: 0, classes: undefined as string[] | undefined }

  return {
    kind: 'folder',
    uri: root,
    get classes() {
      return state.classes
    },
    get ignored() {
      return state.ignored
    },
    list: (signal) => listFolder(root, options, state, signal),
    read: (entry, signal) => readLocation(entry, { ...options, signal }),
    close: async () => {},
  }
}

interface WalkState {
  sorter: ExternalSorter
  ignored: number
  /** Whether an image lies directly in the root: then there are no classes. */
  atRoot: boolean
  signal?: AbortSignal
}

async function* listFolder(
  root: string,
  options: FolderOptions,
  state: { ignored: number; classes: string[] | undefined },
  signal?: AbortSignal,
): AsyncGenerator<ListingEntry> {
  const sorter = createExternalSorter(options.runRecords)
  try {
    const walk: WalkState = { sorter, ignored: 0, atRoot: false, signal }
    await walkFolder(walk, Buffer.from(root), Buffer.alloc(0), Buffer.alloc(0), [await realpath(root)])
    state.ignored = walk.ignored
    const labelled = !walk.atRoot && sorter.count > 0
    const classes: string[] = []
    let current: string | undefined
    for await (const record of sorter.sorted()) {
      const [classBytes, dirBytes, nameBytes, mark] = splitRecord(record)
      const relative = dirBytes.length > 0 ? Buffer.concat([dirBytes, SLASH, nameBytes]) : nameBytes
      const key = displayName(relative)
      const absolute = Buffer.concat([Buffer.from(root), SLASH, relative])
      const uri = path.join(root, key)
      const entry: ListingEntry = { key, uri, at: { kind: 'file', path: uri } }
      if (!isUtf8(relative)) entry.at = { kind: 'file', path: uri, bytes: absolute.toString('base64') }
      if (mark)
        entry.at = { kind: 'bad', code: 'unreadable', message: 'it is no regular file (a pipe, socket or device)' }
      if (labelled) {
        const name = displayName(classBytes)
        if (name !== current) {
          classes.push(name)
          current = name
        }
        entry.label = classes.length - 1
      }
      yield entry
    }
    state.classes = labelled ? classes : undefined
  } finally {
    await sorter.close()
  }
}

/** class NUL folder NUL name [NUL mark]: no name holds a NUL, and NUL sorts before every byte. */
function makeRecord(classBytes: Buffer, dir: Buffer, name: Buffer, special: boolean): Buffer {
  const parts = [classBytes, NUL, dir, NUL, name]
  return Buffer.concat(special ? [...parts, NUL, SPECIAL] : parts)
}

function splitRecord(record: Buffer): [Buffer, Buffer, Buffer, boolean] {
  const first = record.indexOf(0)
  const second = record.indexOf(0, first + 1)
  const third = record.indexOf(0, second + 1)
  const end = third < 0 ? record.length : third
  return [record.subarray(0, first), record.subarray(first + 1, second), record.subarray(second + 1, end), third >= 0]
}

async function walkFolder(
  walk: WalkState,
  folder: Buffer,
  relative: Buffer,
  classBytes: Buffer,
  chain: string[],
): Promise<void> {
  const entries = await opendir(folder, { encoding: 'buffer' as BufferEncoding, bufferSize: 1024 }).catch(
    (error: unknown) => {
      throw unreadableFolder(folder, error)
    },
  )
  try {
    for await (const entry of entries as AsyncIterable<Dirent<string>>) {
      walk.signal?.throwIfAborted()
      const name = entry.name as unknown as Buffer
      const file = Buffer.concat([folder, SLASH, name])
      const inside = relative.length > 0 ? Buffer.concat([relative, SLASH, name]) : name
      let kind: { isDirectory(): boolean; isFile(): boolean } = entry
      let real: string | undefined
      // Types are free here but for links and for file systems that do not tell them.
      if (!entry.isDirectory() && !entry.isFile()) {
        const info = await stat(file).catch(() => undefined)
        if (info) kind = info
        if (info?.isDirectory()) {
          real = await realpath(file)
          if (chain.includes(real)) continue // a link to a folder that it lies in
        }
      }
      if (kind.isDirectory()) {
        const nextClass = relative.length > 0 ? classBytes : name
        await walkFolder(walk, file, inside, nextClass, [...chain, real ?? path.join(chain.at(-1)!, displayName(name))])
        continue
      }
      const text = name.toString('latin1')
      if (!isImageName(text) || text.startsWith('._')) {
        walk.ignored++
        continue
      }
      if (relative.length === 0) walk.atRoot = true
      const special = !kind.isFile() && !(entry.isSymbolicLink() && kind === entry)
      await walk.sorter.add(makeRecord(classBytes, relative, name, special))
    }
  } catch (error) {
    if (error instanceof VtpError || !systemCode(error)) throw error
    throw unreadableFolder(folder, error)
  }
}

function unreadableFolder(folder: Buffer, error: unknown): VtpError {
  return new VtpError(`The folder ${displayName(folder)} cannot be read: ${(error as Error).message}`, {
    code: 'folder_unreadable',
    suggestions: ['check its permissions, or leave it out by listing the images in a .txt file'],
    cause: error,
  })
}
