/**
 * A list of images: one path per line (.txt, or standard input), or one JSON object per line (.jsonl):
 * {"uri": …, "key"?, "label"?, "caption"?}; `url`, `path`, `image` and `text` are understood, too. Relative paths
 * are relative to the list. Blanks around a path are not part of it. Order is the list's. A line that is wrong
 * becomes a reject, not an error, and is named by its number: its text may hold a secret.
 *
 * Addresses may be s3:// and http(s)://. One with a user, a password or a signature in it is never stored:
 * its entry points back to the line of the list, which is read again when its image is due.
 */
import { createReadStream } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { errorText, usageError, VtpError } from '../../errors.js'
import { type ListingEntry, RejectError, type Source } from '../../types.js'
import { type Line, readLines } from '../lines.js'
import { openRangeReader, type RangeReader } from '../range-reader.js'
import { redactUrl, shownAddress } from '../redact.js'
import { parseS3Uri } from '../s3/uri.js'
import { uriScheme } from '../store.js'
import { absolutePath } from './common-folder.js'
import type { SourceOptions } from './index.js'
import { readLocation } from './read-file.js'
import { createSeenKeys } from './unique-keys.js'

const lineSchema = z.object({
  uri: z.string().min(1).optional(),
  url: z.string().min(1).optional(),
  path: z.string().min(1).optional(),
  image: z.string().min(1).optional(),
  key: z.string().min(1).optional(),
  label: z.int32().optional(),
  caption: z.string().optional(),
  text: z.string().optional(),
})

export async function openList(spec: string, options: SourceOptions): Promise<Source> {
  if (spec === '-' && !options.stdin) throw usageError('no_stdin', 'SOURCE is -, but there is no standard input')
  const uri = spec === '-' ? '-' : absolutePath(spec)
  let list: Promise<RangeReader> | undefined
  return {
    kind: 'list',
    uri,
    ignored: 0,
    list: (signal) => listLines(uri, options, signal),
    async read(entry, signal) {
      const reading = { ...options, ownBuckets: true, signal }
      if (entry.at.kind !== 'line') return readLocation(entry, reading)
      list ??= openRangeReader(uri)
      const bytes = await (await list).read(entry.at.offset, entry.at.size)
      const address = lineAddress(bytes.toString('utf8'))
      if (address === undefined || redactUrl(address).text !== entry.uri)
        throw new RejectError('changed', 'read', 'the list is not the one that was planned with')
      return readLocation({ ...entry, at: { kind: 'file', path: address } }, reading)
    },
    close: async () => {
      await list?.then((reader) => reader.close()).catch(() => {})
    },
  }
}

async function* listLines(uri: string, options: SourceOptions, signal?: AbortSignal): AsyncGenerator<ListingEntry> {
  const base = uri === '-' ? process.cwd() : path.dirname(uri)
  const input = uri === '-' ? options.stdin! : await openStream(uri)
  const seen = createSeenKeys()
  const unique = (key: string, line: number): string => {
    for (let candidate = key, i = 0; ; candidate = `${key}#${line}${i ? `.${i}` : ''}`, i++)
      if (seen.add(candidate)) return candidate
  }
  let number = 0
  let json = uri.endsWith('.jsonl')
  try {
    for await (const raw of readLines(input)) {
      signal?.throwIfAborted()
      number++
      const line = number === 1 ? raw.text.replace(/^\uFEFF/, '') : raw.text
      if (line.trim() === '') continue
      const place = { list: uri, line: raw, number }
      // Standard input may carry either kind; the first line tells.
      if (uri === '-' && number === 1) json = line.trimStart().startsWith('{')
      const entry = json
        ? parseJsonLine(line, base, unique, place)
        : pathEntry(line.trim(), base, () => unique(shownAddress(line.trim()), number), place)
      // A bad line is known by its number, unless another line has that for its key.
      yield entry.uri === `${uri}#line=${number}` ? { ...entry, key: unique(entry.key, number) } : entry
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

async function openStream(uri: string): Promise<AsyncIterable<Uint8Array>> {
  if (uriScheme(uri) !== 's3') return createReadStream(uri)
  const { readObject } = await import('../s3/upload.js')
  return readObject(parseS3Uri(uri))
}

/** The address in a line of either kind. */
function lineAddress(text: string): string | undefined {
  const line = text.replace(/^\uFEFF/, '').trim()
  if (!line.startsWith('{')) return line
  try {
    return addressOf(lineSchema.parse(JSON.parse(line)))
  } catch {
    return undefined
  }
}

function addressOf({ uri, url, path: file, image }: z.infer<typeof lineSchema>): string | undefined {
  return (uri ?? url ?? file ?? image)?.trim()
}

/** Where an entry comes from. */
interface ListPlace {
  list: string
  line: Line
  /** From 1. */
  number: number
}

/** A line that names no image. Its text is not stored. */
function badEntry({ list, number }: ListPlace, message: string): ListingEntry {
  return { key: `line-${number}`, uri: `${list}#line=${number}`, at: { kind: 'bad', code: 'bad_entry', message } }
}

function webEntry(text: string, key: () => string, place: ListPlace): ListingEntry {
  if (!URL.canParse(text)) return badEntry(place, 'it is no valid address')
  const { text: uri, secret } = redactUrl(text)
  if (!secret) return { key: key(), uri, at: { kind: 'file', path: text } }
  const { list, line } = place
  if (list === '-') {
    const message = 'an address with a signature is not stored: give the list as a file instead of standard input'
    return { key: key(), uri, at: { kind: 'bad', code: 'bad_entry', message } }
  }
  return { key: key(), uri, at: { kind: 'line', path: list, offset: line.offset, size: line.bytes } }
}

function fileEntry(text: string, key: () => string, place: ListPlace): ListingEntry {
  let file: string
  try {
    file = fileURLToPath(text)
  } catch {
    return badEntry(place, 'it is no valid file:// address')
  }
  return { key: key(), uri: file, at: { kind: 'file', path: file } }
}

/** What is almost an address (`https:/x`, `https:x`, `x y://z`) is no path: it may hold a password. */
const ALMOST_ADDRESS = /^[^/]*:[/\\]|:[/\\]{2}|^(https?|ftp|s3):/i

function pathEntry(text: string, base: string, key: () => string, place: ListPlace): ListingEntry {
  const scheme = uriScheme(text)
  if (scheme === 'file') return fileEntry(text, key, place)
  if (scheme === 'http' || scheme === 'https') return webEntry(text, key, place)
  if (scheme === 's3') {
    if (/^s3:\/\/[^/]*@/i.test(text)) return badEntry(place, 'the address holds credentials')
    try {
      parseS3Uri(text)
    } catch {
      return badEntry(place, 'the address names no bucket')
    }
    return { key: key(), uri: text, at: { kind: 'file', path: text } }
  }
  if (scheme) return badEntry(place, `${scheme}:// is not supported`)
  if (text === '') return badEntry(place, 'the path is empty')
  if (ALMOST_ADDRESS.test(text)) return badEntry(place, 'it is neither a path nor a valid address')
  // A list in a bucket names its neighbours.
  if (uriScheme(base) === 's3' && !path.isAbsolute(text)) {
    const uri = `${base}/${path.posix.normalize(text)}`
    return { key: key(), uri, at: { kind: 'file', path: uri } }
  }
  const file = path.resolve(base, text)
  return { key: key(), uri: file, at: { kind: 'file', path: file } }
}

function parseJsonLine(
  line: string,
  base: string,
  unique: (key: string, line: number) => string,
  place: ListPlace,
): ListingEntry {
  const { number } = place
  let parsed: z.infer<typeof lineSchema>
  try {
    parsed = lineSchema.parse(JSON.parse(line))
  } catch (error) {
    // The message of JSON.parse quotes the line.
    const issue = error instanceof z.ZodError ? error.issues[0] : undefined
    const what = issue ? `${issue.path.join('.')}: ${issue.message}` : 'it is no valid JSON'
    return badEntry(place, `line ${number} is no object with "uri": ${what}`)
  }
  const file = addressOf(parsed)
  if (file === undefined) return badEntry(place, `line ${number} has no "uri"`)
  const entry = pathEntry(file, base, () => unique(shownAddress(parsed.key ?? file), number), place)
  if (parsed.label !== undefined) entry.label = parsed.label
  const caption = parsed.caption ?? parsed.text
  if (caption !== undefined) entry.caption = caption
  return entry
}
