/**
 * A file of texts, one per line, or standard input. An empty line is a text, too: row i is line i. The key
 * is the line's number, from 0, and the caption the line itself.
 */
import { createReadStream } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { Readable } from 'node:stream'
import { errorText, usageError, VtpError } from '../../errors.js'
import type { ListingEntry, Source } from '../../types.js'
import type { SourceOptions } from './options.js'

export async function openTextLines(spec: string, options: SourceOptions): Promise<Source> {
  if (spec === '-' && !options.stdin) throw usageError('no_stdin', '--text is -, but there is no standard input')
  const uri = spec === '-' ? '-' : path.resolve(spec)
  return {
    kind: 'text',
    uri,
    passedOver: { count: 0, examples: [] },
    notes: [],
    list: (signal) => listLines(uri, options, signal),
    read: async (entry) => Buffer.from(entry.caption ?? ''),
    close: async () => {},
  }
}

async function* listLines(uri: string, options: SourceOptions, signal?: AbortSignal): AsyncGenerator<ListingEntry> {
  const input = uri === '-' ? Readable.from(options.stdin!) : createReadStream(uri)
  let number = 0
  try {
    for await (const raw of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
      signal?.throwIfAborted()
      const caption = number === 0 ? raw.replace(/^\uFEFF/, '') : raw
      yield { key: String(number), uri: `${uri}#line=${number}`, caption, at: { kind: 'text' } }
      number++
    }
  } catch (error) {
    if (error instanceof VtpError || signal?.aborted) throw error
    throw new VtpError(`The texts ${uri} cannot be read: ${errorText(error)}`, {
      code: 'texts_unreadable',
      exitCode: 2,
      suggestions: ['check the path given to --text'],
      cause: error,
    })
  }
}
