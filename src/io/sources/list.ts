/**
 * A list of images: one path per line (.txt, or standard input), one JSON object per line (.jsonl), or a table
 * with a header (.csv, .tsv). Fields are those of fields.ts: {"uri": …, "key"?, "label"?, "caption"?}. Relative
 * paths are relative to the list. Blanks around a path are not part of it. Order is the list's. A line that is
 * wrong becomes a reject, not an error, and is named by its number: its text may hold a secret.
 *
 * Addresses may be s3:// and http(s)://. One with a user, a password or a signature in it is never stored:
 * its entry points back to the line of the list, which is read again when its image is due.
 */
import { createReadStream } from 'node:fs'
import path from 'node:path'
import { errorText, usageError, VtpError } from '../../errors.js'
import { type ListingEntry, RejectError, type Source } from '../../types.js'
import { parseDataJson } from '../data-json.js'
import { decodeText } from '../decode-text.js'
import { type Line, readLines } from '../lines.js'
import { openRangeReader, type RangeReader } from '../range-reader.js'
import { redactUrl, shownAddress } from '../redact.js'
import { parseS3Uri } from '../s3/uri.js'
import { uriScheme } from '../store.js'
import { parseAddress, rawPathAddress } from './addresses.js'
import type { NamedEntry } from './class-names.js'
import { absolutePath } from './common-folder.js'
import { readCsv, splitFields } from './csv.js'
import { type DataRecord, fieldValue, imageField, takeFields } from './fields.js'
import { finishListing } from './finish-listing.js'
import { displayName } from './image-names.js'
import { createListingReport, type ListingReport } from './listing-report.js'
import type { SourceOptions } from './options.js'
import { readLocation } from './read-file.js'
import { createSeenKeys } from './unique-keys.js'

/** What the names of lists end in. */
export const LIST_NAME = /\.(txt|jsonl|ndjson|csv|tsv)$/i

type ListKind = 'paths' | 'json' | { separator: string }

function listKind(name: string): ListKind {
  if (/\.(jsonl|ndjson)$/i.test(name)) return 'json'
  if (/\.csv$/i.test(name)) return { separator: ',' }
  return /\.tsv$/i.test(name) ? { separator: '\t' } : 'paths'
}

export async function openList(spec: string, options: SourceOptions): Promise<Source> {
  if (spec === '-' && !options.stdin) throw usageError('no_stdin', 'SOURCE is -, but there is no standard input')
  const uri = spec === '-' ? '-' : absolutePath(spec)
  const report = createListingReport()
  let classes: string[] | undefined
  let list: Promise<RangeReader> | undefined
  let header: Promise<string[]> | undefined
  const readSecret = async (offset: number, size: number): Promise<string | undefined> => {
    list ??= openRangeReader(uri)
    const reader = await list
    const text = decodeText(await reader.read(offset, size))
    const kind = listKind(uri)
    if (kind === 'paths') return text.trim()
    if (kind === 'json') return recordAddress(jsonRecord(text), options)
    header ??= readHeader(reader, kind.separator)
    return recordAddress(toRecord(await header, splitFields(text, kind.separator) ?? []), options)
  }
  return {
    kind: 'list',
    uri,
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
      return finishListing(listEntries(uri, options, report, signal), options, report, (names) => {
        classes = names
      })
    },
    async read(entry, signal) {
      const reading = { ...options, ownBuckets: true, signal }
      if (entry.at.kind !== 'line') return readLocation(entry, reading)
      const address = await readSecret(entry.at.offset, entry.at.size)
      if (address === undefined || redactUrl(address).text !== entry.uri)
        throw new RejectError('changed', 'read', 'the list is not the one that was planned with')
      return readLocation({ ...entry, at: { kind: 'file', path: address } }, reading)
    },
    close: async () => {
      await list?.then((reader) => reader.close()).catch(() => {})
    },
  }
}

/** Where an entry comes from. */
interface Place {
  list: string
  /** From 1. */
  number: number
  offset: number
  bytes: number
}

async function* listEntries(
  uri: string,
  options: SourceOptions,
  report: ListingReport,
  signal?: AbortSignal,
): AsyncGenerator<NamedEntry> {
  const base = uri === '-' ? process.cwd() : path.dirname(uri)
  const seen = createSeenKeys()
  const unique = (key: string, line: number): string => {
    for (let candidate = key, i = 0; ; candidate = `${key}#${line}${i ? `.${i}` : ''}`, i++)
      if (seen.add(candidate)) return candidate
  }
  try {
    const lines = readLines(uri === '-' ? options.stdin! : await openStream(uri))
    const context = { base, options, report, unique }
    const kind = listKind(uri)
    const entries =
      typeof kind === 'object' ? csvEntries(lines, kind, uri, context) : lineEntries(lines, kind, uri, context)
    for await (const entry of entries) {
      signal?.throwIfAborted()
      yield entry
    }
  } catch (error) {
    if (error instanceof VtpError || signal?.aborted) throw error
    throw new VtpError(`The list ${uri} cannot be read: ${errorText(error)}`, {
      code: 'list_unreadable',
      exitCode: 2,
      suggestions: ['check the path of the list'],
      cause: error,
    })
  }
}

interface Context {
  base: string
  options: SourceOptions
  report: ListingReport
  unique(key: string, line: number): string
}

async function* lineEntries(
  lines: AsyncIterable<Line>,
  wanted: 'paths' | 'json',
  uri: string,
  context: Context,
): AsyncGenerator<NamedEntry> {
  let number = 0
  let kind = wanted
  for await (const line of lines) {
    number++
    if (line.text.trim() === '') continue
    // Standard input may carry either kind; the first line tells.
    if (uri === '-' && number === 1 && line.text.trimStart().startsWith('{')) kind = 'json'
    const place = { list: uri, number, offset: line.offset, bytes: line.bytes }
    if (kind === 'json') {
      const record = jsonRecord(line.text)
      yield record ? recordEntry(record, place, context) : badEntry(place, context, 'it is not a JSON object')
    } else yield pathEntry(line, place, context)
  }
}

async function* csvEntries(
  lines: AsyncIterable<Line>,
  { separator }: { separator: string },
  uri: string,
  context: Context,
): AsyncGenerator<NamedEntry> {
  let header: string[] | undefined
  for await (const { fields, problem, ...where } of readCsv(lines, separator)) {
    const place = { list: uri, ...where }
    if (!header) {
      header = checkHeader(fields, uri, context.options)
      continue
    }
    const wrong =
      problem ??
      (fields.length > header.length ? `it has ${fields.length} fields, and ${header.length} were expected` : undefined)
    yield wrong ? badEntry(place, context, wrong) : recordEntry(toRecord(header, fields), place, context)
  }
}

/** Throws usage error `no_image_column` for a table that names no images. */
function checkHeader(names: string[], uri: string, { fields }: SourceOptions): string[] {
  const header = names.map((name) => name.trim())
  for (const [what, name] of Object.entries(fields ?? {})) {
    if (name === undefined || header.includes(name)) continue
    throw usageError('no_column', `${uri} has no column "${name}" (--${what}-column); it has ${header.join(', ')}`)
  }
  if (!fields?.image && !imageField(header)) {
    throw usageError('no_image_column', `${uri} names no images: its columns are ${header.join(', ')}`, [
      'the first line has to name the columns: image (or uri, url, path), and label, caption, key where there are such',
      'choose the column by --image-column',
    ])
  }
  return header
}

async function readHeader(reader: RangeReader, separator: string): Promise<string[]> {
  async function* start(): AsyncGenerator<Uint8Array> {
    yield await reader.read(0, 1 << 20)
  }
  for await (const { fields } of readCsv(readLines(start()), separator)) return fields.map((name) => name.trim())
  return []
}

function toRecord(header: string[], fields: string[]): DataRecord {
  // An empty field is a missing value.
  return Object.fromEntries(header.map((name, i) => [name, fields[i] === '' ? null : fields[i]]))
}

async function openStream(uri: string): Promise<AsyncIterable<Uint8Array>> {
  if (uriScheme(uri) === undefined) return createReadStream(uri)
  if (uriScheme(uri) === 's3') return (await import('../s3/upload.js')).readObject(parseS3Uri(uri))
  const reader = await openRangeReader(uri)
  return readWhole(reader)
}

async function* readWhole(reader: RangeReader): AsyncGenerator<Uint8Array> {
  try {
    for (let at = 0; at < reader.size; at += reader.windowBytes) yield await reader.read(at, reader.windowBytes)
  } finally {
    await reader.close()
  }
}

/** The object in a line; undefined for anything else. */
function jsonRecord(line: string): DataRecord | undefined {
  try {
    const value = parseDataJson(line)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as DataRecord) : undefined
  } catch {
    return undefined // the message of JSON.parse quotes the line
  }
}

/** The address in a record; datasets writes {path, bytes}. */
function addressText(image: unknown): string | undefined {
  const value = typeof image === 'object' && image !== null ? (image as DataRecord).path : image
  return typeof value === 'string' && value.trim() !== '' ? value.trim() : undefined
}

function recordAddress(record: DataRecord | undefined, { fields }: SourceOptions): string | undefined {
  if (!record) return undefined
  const name =
    fields?.image ?? imageField(Object.keys(record).filter((key) => record[key] !== null && record[key] !== ''))
  return name === undefined ? undefined : addressText(fieldValue(record, name))
}

/** A line that names no image. Its text is not stored. */
function badEntry({ list, number }: Place, { unique }: Context, message: string): ListingEntry {
  // It is known by its number, unless another line has that for its key.
  const key = unique(`line-${number}`, number)
  return {
    key,
    uri: `${list}#line=${number}`,
    at: { kind: 'bad', code: 'bad_entry', message: `line ${number}: ${message}` },
  }
}

function pathEntry({ text, raw }: Line, place: Place, context: Context): ListingEntry {
  // Names that are not UTF-8 are names, too.
  if (raw && uriScheme(text.trim()) === undefined && uriScheme(context.base) === undefined) {
    const address = rawPathAddress(raw, context.base)
    if ('at' in address) return { key: context.unique(displayName(raw), place.number), ...address }
  }
  return addressEntry(text.trim(), undefined, place, context)
}

function addressEntry(text: string, ownKey: string | undefined, place: Place, context: Context): ListingEntry {
  const address = parseAddress(text, context.base)
  if ('problem' in address) return badEntry(place, context, address.problem)
  const key = context.unique(shownAddress(ownKey ?? text), place.number)
  if ('at' in address) return { key, ...address }
  const { list, offset, bytes } = place
  if (list !== '-') return { key, uri: address.uri, at: { kind: 'line', path: list, offset, size: bytes } }
  const message = 'an address with a signature is not stored: give the list as a file instead of standard input'
  return { key, uri: address.uri, at: { kind: 'bad', code: 'bad_entry', message } }
}

function recordEntry(record: DataRecord, place: Place, context: Context): NamedEntry {
  const { list, number } = place
  const { image, key, entry } = takeFields(record, `${list}#line=${number}`, context.options, context.report)
  const text = addressText(image)
  if (text === undefined) return badEntry(place, context, 'it has no "uri"')
  return { ...addressEntry(text, key, place, context), ...entry }
}
