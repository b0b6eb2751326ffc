/**
 * A prefix of a bucket as a folder of images, with the order, keys and labels that the same tree has on a
 * disk (folder.ts). The listing streams through sorted runs (external-sort.ts); with a `ListingLog` its
 * raw form is kept in pieces, and a planner that died goes on behind the last one.
 */
import { promisify } from 'node:util'
import { gunzip, gzip } from 'node:zlib'
import { VtpError } from '../../errors.js'
import type { ListingEntry, ListingLog, Source } from '../../types.js'
import { createExternalSorter, type ExternalSorter } from '../external-sort.js'
import { listObjects } from '../s3/objects.js'
import { folderKey, parseS3Uri, s3Uri } from '../s3/uri.js'
import { isImageName } from './folder.js'
import type { SourceOptions } from './index.js'
import { readLocation } from './read-file.js'

/** Objects in one piece of the log: 50 pages. */
const PIECE_OBJECTS = 50_000

type RawObject = [name: string, size: number, etag: string]

export function openS3Prefix(spec: string, options: SourceOptions): Source {
  const place = parseS3Uri(spec)
  const prefix = folderKey(place.key)
  const root = s3Uri({ bucket: place.bucket, key: prefix })
  const state = { ignored: 0, classes: undefined as string[] | undefined }

  async function* objects(signal?: AbortSignal, log?: ListingLog): AsyncGenerator<RawObject[]> {
    let last: string | undefined
    if (log) {
      for await (const piece of log.read()) {
        const objects = await decodePiece(piece, root)
        last = objects.at(-1)?.[0]
        yield objects
      }
    }
    let piece: RawObject[] = []
    const after = last === undefined ? undefined : prefix + last
    for await (const { key, size, etag } of listObjects({ bucket: place.bucket, key: prefix }, after)) {
      signal?.throwIfAborted()
      piece.push([key.slice(prefix.length), size, etag ?? ''])
      if (piece.length === PIECE_OBJECTS) {
        await log?.append(await promisify(gzip)(JSON.stringify(piece), { level: 1 }))
        yield piece
        piece = []
      }
    }
    yield piece
  }

  return {
    kind: 'folder',
    uri: root.replace(/\/$/, ''),
    get classes() {
      return state.classes
    },
    get ignored() {
      return state.ignored
    },
    async *list(signal, log) {
      const sorter = createExternalSorter()
      try {
        state.ignored = 0
        let atRoot = false
        for await (const piece of objects(signal, log)) {
          for (const object of piece) {
            const slash = object[0].lastIndexOf('/')
            const file = object[0].slice(slash + 1)
            if (file === '') continue // a marker of a folder
            if (!isImageName(file) || file.startsWith('._')) state.ignored++
            else {
              if (slash < 0) atRoot = true
              await sorter.add(makeRecord(object))
            }
          }
        }
        yield* sortedEntries(sorter, root, !atRoot && sorter.count > 0, state)
      } finally {
        await sorter.close()
      }
    },
    read: (entry, signal) => readLocation(entry, { ...options, signal }),
    close: async () => {},
  }
}

async function decodePiece(piece: Uint8Array, root: string): Promise<RawObject[]> {
  try {
    return JSON.parse((await promisify(gunzip)(piece)).toString()) as RawObject[]
  } catch (error) {
    throw new VtpError(`The stored listing of ${root} is damaged`, {
      code: 'listing_damaged',
      suggestions: ['start anew with --overwrite'],
      cause: error,
    })
  }
}

/** class NUL folder NUL name NUL size NUL etag: sorted as ImageFolder sorts, and no name holds a NUL. */
function makeRecord([name, size, etag]: RawObject): Buffer {
  const slash = name.lastIndexOf('/')
  const dir = slash < 0 ? '' : name.slice(0, slash)
  return Buffer.from(`${dir.split('/', 1)[0]}\0${dir}\0${name.slice(slash + 1)}\0${size}\0${etag}`)
}

async function* sortedEntries(
  sorter: ExternalSorter,
  root: string,
  labelled: boolean,
  state: { classes: string[] | undefined },
): AsyncGenerator<ListingEntry> {
  const classes: string[] = []
  for await (const record of sorter.sorted()) {
    const [name = '', dir = '', file = '', size, etag] = record.toString().split('\0')
    const key = dir === '' ? file : `${dir}/${file}`
    const uri = root + key
    const entry: ListingEntry = { key, uri, at: { kind: 'file', path: uri, size: Number(size) } }
    if (etag && entry.at.kind === 'file') entry.at.etag = etag
    if (labelled) {
      if (name !== classes.at(-1)) classes.push(name)
      entry.label = classes.length - 1
    }
    yield entry
  }
  state.classes = labelled ? classes : undefined
}
