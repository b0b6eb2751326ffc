/**
 * Tar shards after WebDataset's conventions: consecutive members with the same name up to the first dot
 * are one sample. Its image is the field whose whole extension is an image's (`jpg`, not `depth.png`); `.cls`
 * is the label, `.txt` the caption, `.json` may hold both. Names without a stem (`._a.jpg`, `.hidden`) are no
 * members of a sample. Listing reads headers and side members only; images are read later by their byte range.
 * Names are keys, never paths.
 */
import path from 'node:path'
import { mapOrdered } from '../../async/map-ordered.js'
import { errorText, VtpError } from '../../errors.js'
import type { ListingEntry, Location, Source } from '../../types.js'
import { parseDataJson } from '../data-json.js'
import { decodeText } from '../decode-text.js'
import { openRangeReader, type RangeReader, windowed } from '../range-reader.js'
import { uriScheme } from '../store.js'
import type { NamedEntry } from './class-names.js'
import { absolutePath, commonFolder } from './common-folder.js'
import { type DataRecord, takeFields } from './fields.js'
import { finishListing } from './finish-listing.js'
import { createUnpacked, isGzip, type Unpacked } from './gunzip.js'
import { displayName, imageExtensionRank } from './image-names.js'
import { readLabel } from './labels.js'
import { createListingReport, type ListingReport } from './listing-report.js'
import type { SourceOptions } from './options.js'
import { readLocation } from './read-file.js'
import { isRegular, readTarMembers, type TarMember } from './tar-reader.js'
import { createSeenKeys } from './unique-keys.js'

/** Members that describe a sample (label, caption, JSON) are read whole up to this size. */
const MAX_SIDE_BYTES = 1 << 20
/** Archives in a bucket that are listed at once; the samples of as many are held. */
const REMOTE_AT_ONCE = 16

/** WebDataset's split: the folder and the base name up to its first dot, and the rest. No stem, no member of a sample. */
export function splitMemberName(name: string): { key: string; extension: string } | undefined {
  const slash = name.lastIndexOf('/')
  const dot = name.indexOf('.', slash + 1)
  if (dot === slash + 1) return undefined
  if (dot < 0) return { key: name, extension: '' }
  return { key: name.slice(0, dot), extension: name.slice(dot + 1).toLowerCase() }
}

interface ImageMember extends TarMember {
  shown: string
  /** Rank of its extension; −1 for an extension with more in front, such as `depth.png`. */
  rank: number
}

interface Sample {
  key: string
  images: ImageMember[]
  /** Its first member. */
  first: string
  entry: Partial<Pick<NamedEntry, 'label' | 'className' | 'caption' | 'metadata'>>
  problem?: string
}

interface Archive {
  file: string
  /** Its name in keys. */
  name: string
  reader: RangeReader
  packed: boolean
}

export async function openTars(specs: string[], options: SourceOptions): Promise<Source> {
  const files = specs.map(absolutePath)
  const report = createListingReport()
  const unpacked = createUnpacked()
  let classes: string[] | undefined

  async function* entries(signal?: AbortSignal): AsyncGenerator<NamedEntry> {
    const base = commonFolder(files)
    const seen = createSeenKeys()
    const list = (file: string) => listArchive(file, path.relative(base, file), { report, options, unpacked, signal })
    const remote = uriScheme(files[0]!) !== undefined
    if (!remote) {
      for (const file of files) for await (const entry of list(file)) yield unique(entry, seen)
      return
    }
    const readAll = async (file: string): Promise<NamedEntry[]> => {
      const held: NamedEntry[] = []
      for await (const entry of list(file)) held.push(entry)
      return held
    }
    for await (const held of mapOrdered(files, REMOTE_AT_ONCE, readAll))
      for (const entry of held) yield unique(entry, seen)
  }

  return {
    kind: 'tar',
    uri: files.length === 1 ? files[0]! : `${files[0]} … ${files.at(-1)} (${files.length} tars)`,
    get classes() {
      return classes
    },
    get passedOver() {
      return report.passedOver
    },
    get notes() {
      return report.notes
    },
    list(signal) {
      report.clear()
      return finishListing(entries(signal), options, report, (names) => {
        classes = names
      })
    },
    async read(entry, signal) {
      const { at } = entry
      if (at.kind !== 'range' || !at.packed) return readLocation(entry, { ...options, signal })
      const { offset, size } = at
      const place = { kind: 'range' as const, path: await unpacked.unpack(at.path), offset, size }
      return readLocation({ ...entry, at: place }, { ...options, signal })
    },
    close: () => unpacked.close(),
  }
}

/** A key is given once; who comes later with it is a bad entry. */
function unique(entry: NamedEntry, seen: { add(key: string): boolean }): NamedEntry {
  let { key } = entry
  for (let i = 2; !seen.add(key); i++) key = `${entry.key}#${i}`
  if (key === entry.key) return entry
  const message = `the key "${entry.key}" is there more than once`
  return { key, uri: entry.uri, at: { kind: 'bad', code: 'duplicate_key', message } }
}

interface ListContext {
  report: ListingReport
  options: SourceOptions
  unpacked: Unpacked
  signal?: AbortSignal
}

async function openArchive(file: string, name: string, { unpacked }: ListContext): Promise<Archive> {
  try {
    const reader = await openRangeReader(file)
    if (!(await isGzip(reader))) return { file, name, reader, packed: false }
    await reader.close()
    return { file, name, reader: await openRangeReader(await unpacked.unpack(file)), packed: true }
  } catch (error) {
    if (error instanceof VtpError && error.code !== 'not_found') throw error
    throw new VtpError(`${file} cannot be opened: ${errorText(error)}`, { code: 'tar_unreadable', cause: error })
  }
}

async function* listArchive(file: string, name: string, context: ListContext): AsyncGenerator<NamedEntry> {
  const { report, signal } = context
  const archive = await openArchive(file, name, context)
  let current: Sample | undefined
  const complete = (): NamedEntry[] => {
    const done = current
    current = undefined
    return done ? sampleEntries(done, archive, report) : []
  }
  try {
    const read = windowed(archive.reader)
    const trailing = (): void => report.note('behind_end', name)
    for await (const member of readTarMembers(read, file, archive.reader.size, trailing)) {
      signal?.throwIfAborted()
      if (member.type === '5') continue // a folder
      const shown = displayName(member.name)
      const split = splitMemberName(shown)
      if (!split) {
        report.passOver(`${name}#${shown}`)
        continue
      }
      if (current?.key !== split.key) {
        yield* complete()
        current = { key: split.key, first: shown, images: [], entry: {} }
      }
      await addMember(current!, member, { shown, extension: split.extension }, read, archive, context)
    }
    yield* complete()
  } catch (error) {
    if (!(error instanceof VtpError) || error.code !== 'tar_damaged') throw error
    yield* complete()
    // What came before the damage is kept; the rest is one reject that says so.
    yield badEntry(archive, '(damaged)', '(damaged)', `${error.message}; members behind it are lost`)
  } finally {
    await archive.reader.close()
  }
}

function badEntry({ file, name }: Archive, key: string, member: string, message: string): ListingEntry {
  return { key: `${name}/${key}`, uri: `${file}#${member}`, at: { kind: 'bad', code: 'bad_entry', message } }
}

/** The row of a sample, and rejects for images that cannot be told from it. */
function sampleEntries(sample: Sample, archive: Archive, report: ListingReport): NamedEntry[] {
  const { key, problem, entry } = sample
  const fields = sample.images.filter(({ rank }) => rank >= 0).sort((a, b) => a.rank - b.rank)
  const [image = sample.images[0]] = fields
  if (!image) {
    // Labels without an image: somebody else's sample (audio, text).
    if (problem) return [badEntry(archive, key, sample.first, problem)]
    report.passOver(`${archive.name}#${sample.first}`)
    return []
  }
  const out: NamedEntry[] = []
  const wrong = problem ?? memberProblem(image)
  if (wrong) out.push(badEntry(archive, key, image.shown, wrong))
  else {
    const { label, className, caption, metadata } = entry
    out.push({
      key: `${archive.name}/${key}`,
      uri: `${archive.file}#${image.shown}`,
      at: location(image, archive),
      ...(label === undefined ? {} : { label }),
      ...(className === undefined ? {} : { className }),
      ...(caption === undefined ? {} : { caption }),
      ...(metadata === undefined ? {} : { metadata }),
    })
  }
  for (const other of sample.images) {
    if (other === image) continue
    // `a.jpg` and `a.mask.png` are one sample; the same field twice, or `a.1.jpg` and `a.2.jpg`, are several images.
    if (other.rank !== image.rank && image.rank >= 0) report.passOver(`${archive.name}#${other.shown}`)
    else
      out.push(badEntry(archive, other.shown, other.shown, `the sample "${key}" has an image already: ${image.shown}`))
  }
  return out
}

function memberProblem(image: ImageMember): string | undefined {
  if (image.shown.split('/').includes('..')) return 'its name leads out of the tar'
  if (image.sparse)
    return `the member "${image.shown}" is a sparse file, which is not supported: pack the archive without --sparse`
  if (!isRegular(image)) return `the member is not a regular file (type ${JSON.stringify(image.type)})`
  return undefined
}

function location({ offset, size }: ImageMember, { file, reader, packed }: Archive): Location {
  const { etag } = reader
  if (packed) return { kind: 'range', path: file, offset, size, packed: 'gzip' }
  return { kind: 'range', path: file, offset, size, ...(etag ? { etag } : {}) }
}

async function addMember(
  sample: Sample,
  member: TarMember,
  { shown, extension }: { shown: string; extension: string },
  read: (offset: number, size: number) => Promise<Buffer>,
  archive: Archive,
  { report, options }: ListContext,
): Promise<void> {
  if (imageExtensionRank(extension.slice(extension.lastIndexOf('.') + 1)) >= 0) {
    sample.images.push({ ...member, shown, rank: imageExtensionRank(extension) })
    return
  }
  const place = `${archive.name}#${shown}`
  if (!['cls', 'txt', 'json'].includes(extension) || !isRegular(member) || member.sparse) {
    report.passOver(place)
    return
  }
  if (member.size > MAX_SIDE_BYTES) {
    sample.problem = `its .${extension} member has ${member.size} bytes`
    return
  }
  const content = decodeText(await read(member.offset, member.size))
  if (extension === 'txt') sample.entry.caption = content
  else if (extension === 'cls') {
    const { problem, ...label } = readLabel(content)
    const lost = problem ?? (content.trim() === '' ? 'label_kind' : undefined)
    if (lost) report.note(lost, `${JSON.stringify(content.slice(0, 40))} of ${place}`)
    // It wins over what a .json member says.
    sample.entry = { ...withoutLabel(sample.entry), ...label }
  } else applyJson(sample, content, place, { report, options })
}

function withoutLabel({ label: _, className: __, ...rest }: Sample['entry']): Sample['entry'] {
  return rest
}

function applyJson(
  sample: Sample,
  content: string,
  place: string,
  { report, options }: Pick<ListContext, 'report' | 'options'>,
): void {
  let parsed: unknown
  try {
    parsed = parseDataJson(content)
  } catch {
    sample.problem = 'its .json member is not valid JSON'
    return
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) return
  const { entry } = takeFields(parsed as DataRecord, place, options, report, ['label', 'caption'])
  const { entry: before } = sample
  const labelled = before.label !== undefined || before.className !== undefined
  sample.entry = { ...(labelled ? withoutLabel(entry) : entry), ...before }
}
