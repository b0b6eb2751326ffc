/**
 * Undoes encoding mistakes, as ftfy 6.3.1's `fix_encoding` does (ftfy/__init__.py, fixes.py, chardata.py,
 * bad_codecs/): text that looks like mojibake is encoded with each single-byte encoding that could have
 * produced it, and kept when the bytes are UTF-8. Bytes are held as strings of characters 0 to 255.
 */
import { looksLikeMojibake } from './badness.js'
import { classOf, textTables } from './tables.js'

/** Fixes until nothing changes. */
export function fixEncoding(text: string): string {
  for (;;) {
    const next = fixOnce(text)
    if (next === text) return text
    text = next
  }
}

function fixOnce(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: all of ASCII is meant
  if (/^[\x00-\x7f]*$/.test(text) || !looksLikeMojibake(text)) return text
  let latin1 = false
  for (const encoding of encodings()) {
    const bytes = encode(text, encoding)
    if (bytes === undefined) continue
    latin1 ||= encoding.name === 'latin-1'
    const decoded = decodeUtf8(restoreBytes(bytes, encoding.name))
    if (decoded !== undefined) return decoded
  }
  const embedded = fixEmbedded(text)
  if (embedded !== text) return embedded
  // Latin-1 with C1 control characters was meant to be Windows-1252.
  if (latin1) {
    const windows = [...text].map(windows1252).join('')
    if (windows !== text && !windows.includes('\ufffd')) return windows
  }
  return fixC1(text)
}

/** C1 control characters as the Windows-1252 characters that browsers show for them. */
export function fixC1(text: string): string {
  return text.replace(/[\x80-\x9f]/g, (char) => {
    const fixed = windows1252(char)
    return fixed === '\ufffd' ? char : fixed
  })
}

/** What a character of Latin-1 is in Windows-1252; U+FFFD where that has a hole. */
function windows1252(char: string): string {
  const code = char.charCodeAt(0)
  return code < 0x80 || code > 0xff ? char : textTables().windows1252[code - 0x80]!
}

interface Encoding {
  name: string
  /** Bytes by character, without the ASCII ones (0x1A counts as none of them). */
  bytes: Map<string, number>
}

let known: Encoding[] | undefined

/** The order is that in which they are tried. */
const ORDER = [
  'latin-1',
  ...['1252', '1251', '1250', '1253', '1254', '1257'].map((page) => `sloppy-windows-${page}`),
  'iso-8859-2',
  'macroman',
  'cp437',
]

function encodings(): Encoding[] {
  known ??= ORDER.map((name) => {
    const bytes = new Map<string, number>()
    ;[...textTables().encodings[name]!].forEach((char, i) => {
      bytes.set(char, i === 0 ? 0x1a : 0x7f + i)
    })
    return { name, bytes }
  })
  return known
}

function encode(text: string, { bytes }: Encoding): string | undefined {
  let out = ''
  for (const char of text) {
    const code = char.codePointAt(0)!
    const byte = code < 0x80 && code !== 0x1a ? code : bytes.get(char)
    if (byte === undefined) return undefined
    out += String.fromCharCode(byte)
  }
  return out
}

/** UTF-8 in which a byte A0 has become a space; only where that gives likely characters. */
const ALTERED =
  /[\xc2\xc3\xc5\xce\xd0\xd9][ ]|[\xe2\xe3][ ][\x80-\x84\x86-\x9f\xa1-\xbf]|[\xe0-\xe3][\x80-\x84\x86-\x9f\xa1-\xbf][ ]|\xf0[ ][\x80-\xbf][\x80-\xbf]|\xf0[\x80-\xbf][ ][\x80-\xbf]|\xf0[\x80-\xbf][\x80-\xbf][ ]/g
/** "Ã la" is "à la", but for some Portuguese words. */
const A_GRAVE = /\xc3 (?! |quele|quela|quilo|s )/g
/** UTF-8 and CESU-8 that has lost continuation bytes (0x1A stands for U+FFFD, and once `?` may). */
const LOSSY =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: bytes
  /[\xc2-\xdf]\x1a|[\xc2-\xc3][?]|\xed[\xa0-\xaf][\x1a?]\xed[\xb0-\xbf][\x1a?\x80-\xbf]|\xed[\xa0-\xaf][\x1a?\x80-\xbf]\xed[\xb0-\xbf][\x1a?]|[\xe0-\xef][\x1a?][\x1a\x80-\xbf]|[\xe0-\xef][\x1a\x80-\xbf][\x1a?]|[\xf0-\xf4][\x1a?][\x1a\x80-\xbf][\x1a\x80-\xbf]|[\xf0-\xf4][\x1a\x80-\xbf][\x1a?][\x1a\x80-\xbf]|[\xf0-\xf4][\x1a\x80-\xbf][\x1a\x80-\xbf][\x1a?]|\x1a/g

function restoreBytes(bytes: string, encoding: string): string {
  // In MacRoman an en dash and a space would match.
  if (encoding !== 'macroman' && bytes.search(ALTERED) >= 0) {
    bytes = bytes.replace(A_GRAVE, '\xc3\xa0 ').replace(ALTERED, (match) => match.replaceAll(' ', '\xa0'))
  }
  return encoding.startsWith('sloppy') ? bytes.replace(LOSSY, '\xef\xbf\xbd') : bytes
}

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** UTF-8, or CESU-8 and Java's C0 80 where such bytes occur; undefined when the bytes are neither. */
function decodeUtf8(bytes: string): string | undefined {
  try {
    if (!/[\xed\xc0]/.test(bytes)) return strict.decode(Buffer.from(bytes, 'latin1'))
    let out = ''
    while (bytes.length > 0) {
      const special = bytes.search(/\xc0(?:\x80|\n?$)|\xed(?:[\xa0-\xbf]|\n?$)/)
      const plain = special < 0 ? bytes : bytes.slice(0, special)
      out += strict.decode(Buffer.from(plain, 'latin1'))
      bytes = bytes.slice(plain.length)
      if (bytes === '') break
      const pair = /^\xed[\xa0-\xaf][\x80-\xbf]\xed[\xb0-\xbf](?:[\x80-\xbf]|\n$)/.exec(bytes)
      if (bytes.startsWith('\xc0') && bytes.length > 1) {
        // The reference takes a line's end after C0 for its second byte.
        out += '\0'
        bytes = bytes.slice(2)
      } else if (pair) {
        const at = (i: number, mask: number): number => bytes.charCodeAt(i) & mask
        out += String.fromCodePoint(
          0x10000 + (at(1, 0x0f) << 16) + (at(2, 0x3f) << 10) + (at(4, 0x0f) << 6) + at(5, 0x3f),
        )
        bytes = bytes.slice(6)
      } else return undefined
    }
    return out
  } catch {
    return undefined
  }
}

let detector: RegExp | undefined

/** Sequences that look like UTF-8 inside a text that as a whole is something else are fixed by themselves. */
function fixEmbedded(text: string): string {
  if (!detector) {
    const clues = Object.entries(textTables().utf8Clues).map(([name, ranges]) => [name, `[${classOf(ranges)}]`])
    const { utf8_first_of_2, utf8_first_of_3, utf8_first_of_4, utf8_continuation, utf8_continuation_strict } =
      Object.fromEntries(clues) as Record<string, string>
    detector = new RegExp(
      `(?<!${utf8_continuation_strict})(?:${utf8_first_of_2}${utf8_continuation}` +
        `|${utf8_first_of_3}${utf8_continuation}{2}|${utf8_first_of_4}${utf8_continuation}{3})+`,
      'gu',
    )
  }
  return text.replace(detector, (match) =>
    match.length < text.length && looksLikeMojibake(match) ? fixEncoding(match) : match,
  )
}
