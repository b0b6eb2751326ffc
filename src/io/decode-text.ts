/** Bytes of a text file → text: UTF-8, or UTF-16 as Windows PowerShell's `>` writes it. */

export type TextEncoding = 'utf-8' | 'utf-16le' | 'utf-16be'

/** By the byte order mark, or by where the zeros of the first characters lie (JSON's old rule, RFC 4627). */
export function textEncoding(start: Uint8Array): TextEncoding {
  const [a, b] = start
  if (a === 0xff && b === 0xfe) return 'utf-16le'
  if (a === 0xfe && b === 0xff) return 'utf-16be'
  if (start.length >= 2 && a !== 0 && b === 0) return 'utf-16le'
  if (start.length >= 2 && a === 0 && b !== 0) return 'utf-16be'
  return 'utf-8'
}

/** Without a byte order mark; bytes that make no sense become U+FFFD. */
export function decodeText(bytes: Uint8Array, encoding = textEncoding(bytes)): string {
  return new TextDecoder(encoding).decode(bytes)
}
