/**
 * Makes text safe for a terminal. Names of files, tensors, labels and keys, and what servers say, may hold
 * characters that move the cursor, set the title or turn the text around; all of them are shown as escapes. A
 * line stays one line, so that nobody can forge another one, and very long names lose their middle.
 *
 * Control characters are those of ECMA-48 (C0, DEL, C1); the bidirectional ones are those of UAX #9.
 */

const UNSAFE = /[\p{Cc}\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u206f\ufff9-\ufffb]/gu

const NAMED: Record<string, string> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' }

function escaped(character: string): string {
  const code = character.charCodeAt(0)
  return NAMED[character] ?? (code < 256 ? `\\x${hex(code, 2)}` : `\\u${hex(code, 4)}`)
}

const hex = (code: number, digits: number): string => code.toString(16).padStart(digits, '0')

/** The text on one line, with every unsafe character as an escape: `\n`, `\x1b`, `\u202e`. */
export function printable(text: string): string {
  return text.replace(UNSAFE, escaped)
}

/** `text`, or its beginning and its end around an ellipsis: at most `limit` characters. */
export function shortened(text: string, limit: number): string {
  if (text.length <= limit) return text
  const characters = [...text]
  if (characters.length <= limit) return text
  const tail = Math.floor((limit - 1) / 3)
  return `${characters.slice(0, limit - 1 - tail).join('')}…${characters.slice(-tail).join('')}`
}

/** Longest word and longest line of what is printed. */
export interface LineLimits {
  word: number
  line: number
}

/** Of messages: a name in them says what it is about, and is not copied. */
export const MESSAGE_LIMITS: LineLimits = { word: 200, line: 4000 }

/** Of what people asked for, whose paths other programs may read: more than any path that a system takes. */
export const OUTPUT_LIMITS: LineLimits = { word: 4096, line: 20_000 }

/** One line as a terminal may have it. */
export function cleanLine(text: string, limits: LineLimits = MESSAGE_LIMITS): string {
  // A name of megabytes is cut before it is looked at.
  const cut = text.length > 4 * limits.line ? shortened(text.slice(0, 4 * limits.line), limits.line) : text
  const words = printable(cut).replace(/\S+/gu, (word) => shortened(word, limits.word))
  return shortened(words, limits.line)
}

/** JSON in which every unsafe character is an escape, too: exact for programs, harmless on a terminal. */
export function jsonText(value: unknown, indent?: number): string {
  return JSON.stringify(value, null, indent).replace(UNSAFE, (character) =>
    character === '\n' ? character : `\\u${hex(character.charCodeAt(0), 4)}`,
  )
}
