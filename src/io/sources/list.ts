/**
 * A list of images: one path per line (.txt, or standard input), or one JSON object per line (.jsonl):
 * {"uri": …, "key"?, "label"?, "caption"?}; `path`, `image` and `text` are understood, too. Relative paths
 * are relative to the list. Order is the list's. A line that is wrong becomes a reject, not an error.
 */
import { createReadStream } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { errorText, usageError, VtpError } from '../../errors.js'
import type { ListingEntry, Source } from '../../types.js'
import { uriScheme } from '../store.js'
import type { SourceOptions } from './index.js'
import { readLocation } from './read-file.js'
import { createSeenKeys } from './unique-keys.js'

const lineSchema = z.object({
  uri: z.string().min(1).optional(),
  path: z.string().min(1).optional(),
  image: z.string().min(1).optional(),
  key: z.string().min(1).optional(),
  label: z.int32().optional(),
  caption: z.string().optional(),
  text: z.string().optional(),
})

export async function openList(spec: string, options: SourceOptions): Promise<Source> {
  if (spec === '-' && !options.stdin) throw usageError('no_stdin', 'SOURCE is -, but there is no standard input')
  const uri = spec === '-' ? '-' : path.resolve(spec)
  return {
    kind: 'list',
    uri,
    ignored: 0,
    list: (signal) => listLines(uri, options, signal),
    read: (entry) => readLocation(entry, options.maxBytes),
    close: async () => {},
  }
}

async function* listLines(uri: string, options: SourceOptions, signal?: AbortSignal): AsyncGenerator<ListingEntry> {
  const base = uri === '-' ? process.cwd() : path.dirname(uri)
  const input = uri === '-' ? Readable.from(options.stdin!) : createReadStream(uri)
  const seen = createSeenKeys()
  const unique = (key: string, line: number): string => {
    for (let candidate = key, i = 0; ; candidate = `${key}#${line}${i ? `.${i}` : ''}`, i++)
      if (seen.add(candidate)) return candidate
  }
  let number = 0
  let json = uri.endsWith('.jsonl')
  try {
    for await (const raw of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
      signal?.throwIfAborted()
      number++
      const line = number === 1 ? raw.replace(/^\uFEFF/, '') : raw
      if (line.trim() === '') continue
      // Standard input may carry either kind; the first line tells.
      if (uri === '-' && number === 1) json = line.trimStart().startsWith('{')
      yield json ? parseJsonLine(line, number, base, unique) : pathEntry(line, base, unique(line, number))
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

function pathEntry(text: string, base: string, key: string): ListingEntry {
  const scheme = uriScheme(text)
  if (scheme === 'file') {
    const file = fileURLToPath(text)
    return { key, uri: file, at: { kind: 'file', path: file } }
  }
  if (scheme)
    return { key, uri: text, at: { kind: 'bad', code: 'bad_entry', message: `${scheme}:// is not supported` } }
  const file = path.resolve(base, text)
  return { key, uri: file, at: { kind: 'file', path: file } }
}

function parseJsonLine(
  line: string,
  number: number,
  base: string,
  unique: (key: string, line: number) => string,
): ListingEntry {
  const bad = (message: string): ListingEntry => ({
    key: unique(`line-${number}`, number),
    uri: line.slice(0, 200),
    at: { kind: 'bad', code: 'bad_entry', message },
  })
  let parsed: z.infer<typeof lineSchema>
  try {
    parsed = lineSchema.parse(JSON.parse(line))
  } catch (error) {
    const issue =
      error instanceof z.ZodError ? `${error.issues[0]?.path.join('.')}: ${error.issues[0]?.message}` : errorText(error)
    return bad(`line ${number} is no object with "uri": ${issue}`)
  }
  const file = parsed.uri ?? parsed.path ?? parsed.image
  if (file === undefined) return bad(`line ${number} has no "uri"`)
  const entry = pathEntry(file, base, unique(parsed.key ?? file, number))
  if (parsed.label !== undefined) entry.label = parsed.label
  const caption = parsed.caption ?? parsed.text
  if (caption !== undefined) entry.caption = caption
  return entry
}
