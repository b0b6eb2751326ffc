/**
 * Python's string methods as CLIP's cleaning uses them, where JavaScript's differ: which characters are
 * white space, and that letters younger than Unicode 14 have neither lower case nor combining behaviour for
 * the Python that made the reference data.
 */
import { classOf, textTables } from './tables.js'

/** The inside of a character class: what `str.isspace`, `str.split` and `\s` of `re` take for white space. */
export const PYTHON_SPACE = '\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000'

const SPACES = new RegExp(`[${PYTHON_SPACE}]+`, 'gu')

/** `" ".join(text.split())` */
export function collapseSpaces(text: string): string {
  return text.replace(SPACES, ' ').replace(/^ | $/g, '')
}

let young: RegExp | undefined

/** Applies `change` to the pieces between characters that Unicode 14 does not know. */
function between(text: string, change: (piece: string) => string): string {
  young ??= new RegExp(`([${classOf(textTables().unassigned14)}])`, 'u')
  if (!young.test(text)) return change(text)
  return text
    .split(young)
    .map((piece, i) => (i % 2 === 0 ? change(piece) : piece))
    .join('')
}

/** `str.lower` */
export function lower(text: string): string {
  return between(text, (piece) => piece.toLowerCase())
}

/** `unicodedata.normalize("NFC", text)` */
export function normalizeNfc(text: string): string {
  return between(text, (piece) => piece.normalize('NFC'))
}
