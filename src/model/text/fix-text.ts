/**
 * `ftfy.fix_text` (6.3.1) with its defaults, which CLIP's tokenizer runs first: HTML entities, mojibake,
 * ligatures, character width, quotes, line breaks, surrogates, terminal escapes, control characters, NFC,
 * repeated until nothing changes, line by line.
 */
import { unescapeHtml } from './html.js'
import { fixC1, fixEncoding } from './mojibake.js'
import { normalizeNfc } from './python-text.js'
import { textTables } from './tables.js'

/** Lines longer than this many code points are fixed in pieces. */
const MAX_SEGMENT = 1_000_000

export function fixText(text: string): string {
  let entities = true
  let out = ''
  for (const segment of segments(text)) {
    // A literal "<" means HTML, whose entities are meant; from then on for all of the text.
    entities &&= !segment.includes('<')
    out += fixSegment(segment, entities)
  }
  return out
}

function* segments(text: string): Generator<string> {
  for (let start = 0; start < text.length; ) {
    const newline = text.indexOf('\n', start) + 1
    const line = text.slice(start, newline === 0 ? text.length : newline)
    start += line.length
    if (line.length <= MAX_SEGMENT) {
      yield line
      continue
    }
    const points = [...line]
    for (let i = 0; i < points.length; i += MAX_SEGMENT) yield points.slice(i, i + MAX_SEGMENT).join('')
  }
}

function fixSegment(segment: string, entities: boolean): string {
  for (let text = segment; ; ) {
    const before = text
    if (entities) text = decodeEntities(text)
    text = fixC1(fixEncoding(text))
    text = text.replace(ligaturePattern(), (char) => textTables().ligatures[char]!)
    text = text.replace(WIDE, (char) => char.normalize('NFKC'))
    text = text.replace(/[\u201c-\u201f]/g, '"').replace(/[\u02bc\u2018-\u201b]/g, "'")
    text = text.replace(/\r\n|[\r\u2028\u2029\x85]/g, '\n')
    text = text.replace(/[\ud800-\udfff]/gu, '\ufffd') // with the flag `u` only those without a partner
    text = text.replace(TERMINAL_ESCAPE, '')
    text = text.replace(CONTROL, '')
    text = normalizeNfc(text)
    if (text === before) return text
  }
}

/** U+3000 and the half- and full-width forms. */
const WIDE = /[\u3000\uff01-\uffef]/g
// biome-ignore lint/suspicious/noControlCharactersInRegex: terminal escapes start with one
const TERMINAL_ESCAPE = /\x1b\[(?:\p{Nd}|;)*[a-zA-Z]/gu
/** Invisible ones, but for white space, joiners, direction marks and tags. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is removed
const CONTROL = /[\x00-\x08\x0b\x0e-\x1f\x7f\u206a-\u206f\ufeff\ufff9-\ufffc]/g

let ligatures: RegExp | undefined

function ligaturePattern(): RegExp {
  ligatures ??= new RegExp(`[${Object.keys(textTables().ligatures).join('')}]`, 'g')
  return ligatures
}

let named: Map<string, string> | undefined

/** Named references that end in a semicolon, and those of lower-case names written in capitals. */
function namedEntities(): Map<string, string> {
  if (named) return named
  named = new Map()
  for (const [name, char] of Object.entries(textTables().entities)) {
    if (!name.endsWith(';')) continue
    named.set(`&${name}`, char)
    const upper = `&${name.toUpperCase()}`
    if (name === name.toLowerCase() && unescapeHtml(upper) === upper) named.set(upper, char.toUpperCase())
  }
  return named
}

/** Careful: only references with a semicolon, and numbers only when they are used up to it. */
function decodeEntities(text: string): string {
  return text.replace(/&#?[0-9A-Za-z]{1,24};/g, (reference) => {
    const char = namedEntities().get(reference)
    if (char !== undefined) return char
    if (!reference.startsWith('&#')) return reference
    const decoded = unescapeHtml(reference)
    return decoded.includes(';') ? reference : decoded
  })
}
