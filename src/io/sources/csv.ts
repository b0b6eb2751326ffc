/**
 * Tables of text with a header, as spreadsheets and pandas write them (RFC 4180): fields may be quoted, and hold
 * separators, quotes (doubled) and line ends then. Holds one record.
 */
import type { Line } from '../lines.js'

export interface CsvRecord {
  fields: string[]
  /** Number of its first line, from 1. */
  number: number
  /** Byte range in the file. */
  offset: number
  bytes: number
  /** Why it is no record. */
  problem?: string
}

/** A quote that is never closed would swallow the rest of the file. */
const LONGEST_RECORD = 1 << 20

export async function* readCsv(lines: AsyncIterable<Line>, separator: string): AsyncGenerator<CsvRecord> {
  let number = 0
  let open: { text: string; number: number; offset: number } | undefined
  let end = 0
  for await (const line of lines) {
    number++
    if (!open && line.text.trim() === '') continue
    open = open ? { ...open, text: `${open.text}\n${line.text}` } : { text: line.text, number, offset: line.offset }
    end = line.offset + line.bytes
    const fields = splitFields(open.text, separator)
    if (!fields && open.text.length < LONGEST_RECORD) continue
    yield finished(open, fields, end)
    open = undefined
  }
  if (open) yield finished(open, undefined, end)
}

function finished(
  { number, offset }: { number: number; offset: number },
  fields: string[] | undefined,
  end: number,
): CsvRecord {
  const place = { number, offset, bytes: end - offset }
  return fields ? { ...place, fields } : { ...place, fields: [], problem: 'a quote is not closed' }
}

/** The fields of a record; undefined while a quote is open. */
export function splitFields(text: string, separator: string): string[] | undefined {
  const fields: string[] = []
  for (let at = 0; ; ) {
    if (text[at] !== '"') {
      const next = text.indexOf(separator, at)
      fields.push(next < 0 ? text.slice(at) : text.slice(at, next))
      if (next < 0) return fields
      at = next + 1
      continue
    }
    let value = ''
    let from = at + 1
    for (;;) {
      const quote = text.indexOf('"', from)
      if (quote < 0) return undefined
      value += text.slice(from, quote)
      from = quote + 1
      if (text[from] !== '"') break
      value += '"'
      from++
    }
    // What follows a closing quote belongs to the field, as Python's csv has it.
    const next = text.indexOf(separator, from)
    fields.push(value + (next < 0 ? text.slice(from) : text.slice(from, next)))
    if (next < 0) return fields
    at = next + 1
  }
}
