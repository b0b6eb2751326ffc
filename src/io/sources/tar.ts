/**
 * Tar shards after WebDataset's conventions: consecutive members with the same name up to the first dot
 * are one sample; the image member is found by its extension, `.cls` is the label, `.txt` the caption,
 * `.json` may hold both. Listing reads headers only; images are read later by their byte range. Names are
 * keys, never paths. Formats: POSIX.1-1988 ustar, pax, GNU long names.
 */
import path from 'node:path'
import { mapOrdered } from '../../async/map-ordered.js'
import { errorText, VtpError } from '../../errors.js'
import type { ListingEntry, Location, Source } from '../../types.js'
import { openRangeReader, type RangeReader, windowed } from '../range-reader.js'
import { uriScheme } from '../store.js'
import { absolutePath, commonFolder } from './common-folder.js'
import { isImageName } from './folder.js'
import type { SourceOptions } from './index.js'
import { readLocation } from './read-file.js'
import { createSeenKeys } from './unique-keys.js'

const BLOCK = 512
/** Members that describe a sample (label, caption, JSON) are read whole up to this size. */
const MAX_SIDE_BYTES = 1 << 20
/** Archives in a bucket that are listed at once; the samples of as many are held. */
const REMOTE_AT_ONCE = 16

export interface TarMember {
  name: string
  type: string
  offset: number
  size: number
}

/** Reads members' headers in order. Throws VtpError `tar_damaged` where the archive stops making sense. */
export async function* readTarMembers(
  read: (offset: number, size: number) => Promise<Buffer>,
  file: string,
  fileBytes: number,
): AsyncGenerator<TarMember> {
  const damaged = (what: string): VtpError => new VtpError(`${file}: ${what}`, { code: 'tar_damaged' })
  let pax: Record<string, string> = {}
  let globalPax: Record<string, string> = {}
  let longName: string | undefined
  for (let at = 0; ; ) {
    const block = await read(at, BLOCK)
    if (block.length === 0) return // no end marker, but nothing missing either
    if (block.length < BLOCK) throw damaged(`the archive is cut off in a header at byte ${at}`)
    if (block.every((byte) => byte === 0)) return
    if (!checksumOk(block)) throw damaged(`no tar header at byte ${at}`)
    const type = String.fromCharCode(block[156]!)
    let size = readNumber(block, 124, 12)
    const start = at + BLOCK
    if (type === 'x' || type === 'g' || type === 'L' || type === 'K') {
      if (size > MAX_SIDE_BYTES || start + size > fileBytes)
        throw damaged(`an extended header at byte ${at} claims ${size} bytes`)
      const data = await read(start, size)
      if (type === 'x') pax = parsePax(data)
      else if (type === 'g') globalPax = { ...globalPax, ...parsePax(data) }
      else if (type === 'L') longName = text(data)
    } else {
      const all = { ...globalPax, ...pax }
      if (all.size !== undefined) size = Number(all.size)
      if (!Number.isSafeInteger(size) || size < 0) throw damaged(`a member at byte ${at} has no sensible size`)
      const prefix = block.toString('latin1', 257, 262) === 'ustar' ? text(block.subarray(345, 500)) : ''
      const short = text(block.subarray(0, 100))
      const name = all.path ?? longName ?? (prefix ? `${prefix}/${short}` : short)
      pax = {}
      longName = undefined
      if (start + size > fileBytes) throw damaged(`the archive is cut off in the member "${name}"`)
      yield { name, type, offset: start, size }
    }
    at = start + Math.ceil(size / BLOCK) * BLOCK
  }
}

function text(bytes: Buffer): string {
  const end = bytes.indexOf(0)
  return bytes.toString('utf8', 0, end < 0 ? bytes.length : end)
}

/** Octal text, or GNU's base-256 for large values. */
function readNumber(block: Buffer, at: number, length: number): number {
  if (block[at]! & 0x80) {
    let value = block[at]! & 0x7f
    for (let i = 1; i < length; i++) value = value * 256 + block[at + i]!
    return value
  }
  const digits = text(block.subarray(at, at + length)).trim()
  return digits === '' ? 0 : /^[0-7]+$/.test(digits) ? Number.parseInt(digits, 8) : Number.NaN
}

function checksumOk(block: Buffer): boolean {
  const stored = readNumber(block, 148, 8)
  let sum = 0
  for (let i = 0; i < BLOCK; i++) sum += i >= 148 && i < 156 ? 32 : block[i]!
  return sum === stored
}

/** "LENGTH KEY=VALUE\n" records. */
function parsePax(data: Buffer): Record<string, string> {
  const out = Object.create(null) as Record<string, string>
  for (let at = 0; at < data.length; ) {
    const space = data.indexOf(0x20, at)
    const length = Number(data.toString('latin1', at, space))
    if (space < 0 || !Number.isSafeInteger(length) || length <= space - at || at + length > data.length) break
    const record = data.toString('utf8', space + 1, at + length - 1)
    const equals = record.indexOf('=')
    if (equals > 0) out[record.slice(0, equals)] = record.slice(equals + 1)
    at += length
  }
  return out
}

/** WebDataset's split: the folder and the base name up to its first dot, and the rest. */
export function splitMemberName(name: string): { key: string; extension: string } {
  const slash = name.lastIndexOf('/')
  const dot = name.indexOf('.', slash + 1)
  if (dot < 0) return { key: name, extension: '' }
  return { key: name.slice(0, dot), extension: name.slice(dot + 1).toLowerCase() }
}

interface Sample {
  key: string
  member: string
  at?: Location
  label?: number
  caption?: string
  problem?: string
  /** Further images under the same key. */
  others: string[]
}

export async function openTars(specs: string[], options: SourceOptions): Promise<Source> {
  const files = specs.map(absolutePath)
  const state = { ignored: 0 }
  return {
    kind: 'tar',
    uri: files.length === 1 ? files[0]! : `${files[0]} … ${files.at(-1)} (${files.length} tars)`,
    get ignored() {
      return state.ignored
    },
    async *list(signal) {
      const base = commonFolder(files)
      const seen = createSeenKeys()
      const entry = (sample: Sample, file: string): ListingEntry =>
        toEntry(sample, file, path.relative(base, file), seen)
      if (uriScheme(files[0]!) === undefined) {
        for (const file of files) for await (const sample of readSamples(file, state, signal)) yield entry(sample, file)
        return
      }
      const readAll = async (file: string): Promise<{ file: string; samples: Sample[] }> => {
        const samples: Sample[] = []
        for await (const sample of readSamples(file, state, signal)) samples.push(sample)
        return { file, samples }
      }
      for await (const { file, samples } of mapOrdered(files, REMOTE_AT_ONCE, readAll))
        for (const sample of samples) yield entry(sample, file)
    },
    read: (entry, signal) => readLocation(entry, { ...options, signal }),
    close: async () => {},
  }
}

function toEntry(sample: Sample, file: string, tar: string, seen: { add(key: string): boolean }): ListingEntry {
  const plain = `${tar}/${sample.key}`
  const uri = `${file}#${sample.member}`
  let key = plain
  for (let i = 2; !seen.add(key); i++) key = `${plain}#${i}`
  if (key !== plain) {
    return {
      key,
      uri,
      at: { kind: 'bad', code: 'duplicate_key', message: `the key "${sample.key}" is in ${tar} more than once` },
    }
  }
  if (sample.problem || !sample.at) {
    return { key, uri, at: { kind: 'bad', code: 'bad_entry', message: sample.problem ?? 'the sample has no image' } }
  }
  const entry: ListingEntry = { key, uri, at: sample.at }
  if (sample.label !== undefined) entry.label = sample.label
  if (sample.caption !== undefined) entry.caption = sample.caption
  return entry
}

async function* readSamples(file: string, state: { ignored: number }, signal?: AbortSignal): AsyncGenerator<Sample> {
  let reader: RangeReader
  try {
    reader = await openRangeReader(file)
  } catch (error) {
    if (error instanceof VtpError && error.code !== 'not_found') throw error
    throw new VtpError(`${file} cannot be opened: ${errorText(error)}`, { code: 'tar_unreadable', cause: error })
  }
  let current: Sample | undefined
  const complete = (): Sample[] => {
    const done = current
    current = undefined
    if (!done) return []
    if (!done.at && !done.problem) {
      // Labels without an image: somebody else's sample (audio, text). Passed over, and counted.
      state.ignored++
      return []
    }
    // Every image is a row or a reject: the first one is the sample's.
    const problem = `the sample "${done.key}" has an image already: ${done.member}`
    return [done, ...done.others.map((member): Sample => ({ key: member, member, problem, others: [] }))]
  }
  try {
    const read = windowed(reader)
    for await (const member of readTarMembers(read, file, reader.size)) {
      signal?.throwIfAborted()
      if (member.type === '5') continue // a folder
      const { key, extension } = splitMemberName(member.name)
      if (current?.key !== key) {
        yield* complete()
        current = { key, member: member.name, others: [] }
      }
      await addMember(current!, member, extension, read, reader, state)
    }
    yield* complete()
  } catch (error) {
    if (!(error instanceof VtpError) || error.code !== 'tar_damaged') throw error
    yield* complete()
    // What came before the damage is kept; the rest is one reject that says so.
    yield { key: '(damaged)', member: '(damaged)', problem: `${error.message}; members behind it are lost`, others: [] }
  } finally {
    await reader.close()
  }
}

async function addMember(
  sample: Sample,
  member: TarMember,
  extension: string,
  read: (offset: number, size: number) => Promise<Buffer>,
  reader: RangeReader,
  state: { ignored: number },
): Promise<void> {
  if (isImageName(`x.${extension}`)) {
    if (sample.at) {
      sample.others.push(member.name)
      return
    }
    sample.member = member.name
    if (member.name.split('/').includes('..')) sample.problem = 'its name leads out of the tar'
    else if (member.type !== '0' && member.type !== '\0' && member.type !== '7') {
      sample.problem = `the member is no regular file (type ${JSON.stringify(member.type)})`
    } else {
      const { uri, etag } = reader
      sample.at = { kind: 'range', path: uri, offset: member.offset, size: member.size, ...(etag ? { etag } : {}) }
    }
    return
  }
  if (!['cls', 'txt', 'json'].includes(extension)) {
    state.ignored++
    return
  }
  if (member.size > MAX_SIDE_BYTES) {
    sample.problem = `its .${extension} member has ${member.size} bytes`
    return
  }
  const content = (await read(member.offset, member.size)).toString('utf8')
  if (extension === 'txt') sample.caption = content
  else if (extension === 'cls') {
    const label = Number(content.trim())
    if (content.trim() !== '' && Number.isInteger(label) && Math.abs(label) < 2 ** 31) sample.label = label
    else sample.problem = `its .cls member holds ${JSON.stringify(content.slice(0, 40))}, no whole number`
  } else applyJson(sample, content)
}

function applyJson(sample: Sample, content: string): void {
  let parsed: unknown
  try {
    parsed = JSON.parse(content)
  } catch {
    sample.problem = 'its .json member is no valid JSON'
    return
  }
  if (typeof parsed !== 'object' || parsed === null) return
  const fields = new Map(Object.entries(parsed))
  const label = fields.get('label') ?? fields.get('cls')
  if (Number.isInteger(label)) sample.label ??= label as number
  const caption = fields.get('caption') ?? fields.get('text')
  if (typeof caption === 'string') sample.caption ??= caption
}
