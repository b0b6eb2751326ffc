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
import { getObject, listObjects } from '../s3/objects.js'
import { folderKey, parseS3Uri, s3Uri } from '../s3/uri.js'
import { createCaptionFiles, isCaptionName, MAX_CAPTION_BYTES } from './caption-files.js'
import { createClassFolders } from './class-folders.js'
import { limitEntries } from './finish-listing.js'
import { isAppleDouble, isImageName } from './image-names.js'
import { createListingReport } from './listing-report.js'
import type { SourceOptions } from './options.js'
import { readLocation } from './read-file.js'

/** Objects in one piece of the log: 50 pages. */
const PIECE_OBJECTS = 50_000

type RawObject = [name: string, size: number, etag: string]

export function openS3Prefix(spec: string, options: SourceOptions): Source {
  const place = parseS3Uri(spec)
  const prefix = folderKey(place.key)
  const root = s3Uri({ bucket: place.bucket, key: prefix })
  const report = createListingReport()
  let classNames: string[] | undefined

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

  async function* listPrefix(signal?: AbortSignal, log?: ListingLog): AsyncGenerator<ListingEntry> {
    report.clear()
    const sorter = createExternalSorter()
    const [classes, captions] = [createClassFolders(), createCaptionFiles()]
    try {
      for await (const piece of objects(signal, log)) {
        for (const object of piece) {
          const [name] = object
          const slash = name.lastIndexOf('/')
          const top = slash < 0 ? undefined : name.slice(0, name.indexOf('/'))
          if (top !== undefined) classes.addFolder(top)
          const file = name.slice(slash + 1)
          if (file === '') continue // a marker of a folder
          if (!isAppleDouble(file) && isImageName(file)) {
            classes.addImage(top, file)
            await sorter.add(makeRecord(object))
          } else if (isCaptionName(file) && !isAppleDouble(file)) captions.add(name)
          else report.passOver(name)
        }
      }
      const labels = classes.finish(report)
      classNames = labels && [...labels.keys()]
      yield* captions.attach(sortedEntries(sorter, root, labels), report, async (name) => {
        const range = { offset: 0, size: MAX_CAPTION_BYTES + 1 }
        const { bytes } = await getObject({ bucket: place.bucket, key: prefix + name }, { range, signal })
        return bytes.length > MAX_CAPTION_BYTES ? 'too_large' : bytes
      })
    } finally {
      await sorter.close()
    }
  }

  return {
    kind: 'folder',
    uri: root.replace(/\/$/, ''),
    get classes() {
      return classNames
    },
    get passedOver() {
      return report.passedOver
    },
    get notes() {
      return report.notes
    },
    list: (signal, log) => limitEntries(listPrefix(signal, log), options.limit),
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
  labels: ReadonlyMap<string, number> | undefined,
): AsyncGenerator<ListingEntry> {
  for await (const record of sorter.sorted()) {
    const [name = '', dir = '', file = '', size, etag] = record.toString().split('\0')
    const key = dir === '' ? file : `${dir}/${file}`
    const uri = root + key
    const entry: ListingEntry = { key, uri, at: { kind: 'file', path: uri, size: Number(size) } }
    if (etag && entry.at.kind === 'file') entry.at.etag = etag
    const label = labels?.get(name)
    if (label !== undefined) entry.label = label
    yield entry
  }
}
