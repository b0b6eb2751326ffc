/**
 * A folder of images, recursively. Order and labels are torchvision's ImageFolder's: by class (the first
 * folder), then by the folder's path, then by file name, all compared by code point (which is the order of
 * UTF-8 bytes). Names are read as bytes, so that any name the file system allows is listed. Nothing is
 * held but sorted runs of names (external-sort.ts), class names, and names of caption files.
 */

import { isUtf8 } from 'node:buffer'
import type { Dirent } from 'node:fs'
import { opendir, readFile, realpath, stat } from 'node:fs/promises'
import path from 'node:path'
import { systemCode, VtpError } from '../../errors.js'
import type { ListingEntry, Source } from '../../types.js'
import { createExternalSorter, type ExternalSorter } from '../external-sort.js'
import { type CaptionFiles, createCaptionFiles, isCaptionName, MAX_CAPTION_BYTES } from './caption-files.js'
import { type ClassFolders, createClassFolders } from './class-folders.js'
import { limitEntries } from './finish-listing.js'
import { displayName, isAppleDouble, isImageName } from './image-names.js'
import { createListingReport, type ListingReport } from './listing-report.js'
import type { SourceOptions } from './options.js'
import { readLocation } from './read-file.js'

const SLASH = Buffer.from('/')
const NUL = Buffer.from([0])
/** Marks an entry that is no regular file. */
const SPECIAL = Buffer.from([1])

export interface FolderOptions extends SourceOptions {
  /** Records per sorted run; tests make it small. */
  runRecords?: number
}

export async function openFolder(folder: string, options: FolderOptions = {}): Promise<Source> {
  const root = path.resolve(folder)
  const report = createListingReport()
  let classes: string[] | undefined
  return {
    kind: 'folder',
    uri: root,
    get classes() {
      return classes
    },
    get passedOver() {
      return report.passedOver
    },
    get notes() {
      return report.notes
    },
    list: (signal) => {
      report.clear()
      const onClasses = (names: string[] | undefined): void => {
        classes = names
      }
      return limitEntries(listFolder(root, options, report, onClasses, signal), options.limit)
    },
    read: (entry, signal) => readLocation(entry, { ...options, signal }),
    close: async () => {},
  }
}

interface WalkState {
  sorter: ExternalSorter
  classes: ClassFolders
  captions: CaptionFiles
  report: ListingReport
  signal?: AbortSignal
}

async function* listFolder(
  root: string,
  options: FolderOptions,
  report: ListingReport,
  onClasses: (names: string[] | undefined) => void,
  signal?: AbortSignal,
): AsyncGenerator<ListingEntry> {
  const sorter = createExternalSorter(options.runRecords)
  try {
    const walk: WalkState = { sorter, classes: createClassFolders(), captions: createCaptionFiles(), report, signal }
    await walkFolder(walk, Buffer.from(root), Buffer.alloc(0), Buffer.alloc(0), [await realpath(root)])
    const labels = walk.classes.finish(report)
    onClasses(labels && [...labels.keys()])
    yield* walk.captions.attach(sortedEntries(sorter, root, labels), report, (name) => readCaption(root, name))
  } finally {
    await sorter.close()
  }
}

async function* sortedEntries(
  sorter: ExternalSorter,
  root: string,
  labels: ReadonlyMap<string, number> | undefined,
): AsyncGenerator<ListingEntry> {
  for await (const record of sorter.sorted()) {
    const [classBytes, dirBytes, nameBytes, mark] = splitRecord(record)
    const relative = dirBytes.length > 0 ? Buffer.concat([dirBytes, SLASH, nameBytes]) : nameBytes
    const key = displayName(relative)
    const absolute = Buffer.concat([Buffer.from(root), SLASH, relative])
    const uri = path.join(root, key)
    const entry: ListingEntry = { key, uri, at: { kind: 'file', path: uri } }
    if (!isUtf8(relative)) entry.at = { kind: 'file', path: uri, bytes: absolute.toString('base64') }
    if (mark)
      entry.at = { kind: 'bad', code: 'unreadable', message: 'it is not a regular file (a pipe, socket or device)' }
    const label = labels?.get(displayName(classBytes))
    if (label !== undefined) entry.label = label
    yield entry
  }
}

async function readCaption(root: string, name: string): Promise<Uint8Array | 'too_large'> {
  const file = path.join(root, name)
  try {
    return (await stat(file)).size > MAX_CAPTION_BYTES ? 'too_large' : await readFile(file)
  } catch (error) {
    throw new VtpError(`The caption ${file} cannot be read: ${(error as Error).message}`, {
      code: 'caption_unreadable',
      suggestions: ['check its permissions, or take it away'],
      cause: error,
    })
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
        const atTop = relative.length === 0
        if (atTop) walk.classes.addFolder(displayName(name))
        const resolved = real ?? path.join(chain.at(-1)!, displayName(name))
        await walkFolder(walk, file, inside, atTop ? name : classBytes, [...chain, resolved])
        continue
      }
      const text = name.toString('latin1')
      if (isAppleDouble(text) || !isImageName(text)) {
        if (isCaptionName(text) && kind.isFile() && !isAppleDouble(text) && isUtf8(inside))
          walk.captions.add(inside.toString('utf8'))
        else walk.report.passOver(displayName(inside))
        continue
      }
      walk.classes.addImage(relative.length > 0 ? displayName(classBytes) : undefined, displayName(name))
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
