/**
 * The facts behind text cleaning, from models/clip-text/tables.json (scripts/text-tables.py takes them from
 * the reference implementations). Read once, on first use.
 */
import { readFileSync } from 'node:fs'
import { packageFile } from '../../package.js'

type Ranges = [first: number, last: number][]

export interface TextTables {
  /** For each single-byte encoding, in the order to try: what byte 0x1A and bytes 0x80 to 0xFF stand for. */
  encodings: Record<string, string>
  /** Bytes 0x80 to 0xFF of Windows-1252; U+FFFD where a byte is unassigned. */
  windows1252: string
  /** Character classes of the mojibake heuristic. */
  badness: Record<string, Ranges>
  /** Character classes of text that looks like UTF-8 read as something else. */
  utf8Clues: Record<string, Ranges>
  ligatures: Record<string, string>
  /** What CLIP's regular expression takes for letters and numbers, whatever Unicode version this Node has. */
  letters: Ranges
  numbers: Ranges
  /** Code points without a character in Unicode 14, which the reference's Python knows. */
  unassigned14: Ranges
  /** HTML5 named references, with or without a trailing semicolon. */
  entities: Record<string, string>
}

export const CLIP_TEXT_FOLDER = packageFile('models/clip-text/')

let tables: TextTables | undefined

export function textTables(): TextTables {
  tables ??= JSON.parse(readFileSync(new URL('tables.json', CLIP_TEXT_FOLDER), 'utf8')) as TextTables
  return tables
}

/** The inside of a character class for a RegExp with the flag `u`. */
export function classOf(ranges: Ranges): string {
  const escaped = (point: number): string => `\\u{${point.toString(16)}}`
  return ranges
    .map(([first, last]) => (first === last ? escaped(first) : `${escaped(first)}-${escaped(last)}`))
    .join('')
}
