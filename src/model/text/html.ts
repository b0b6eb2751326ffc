/**
 * HTML character references, by the rules of Python's `html.unescape` (HTML 5, "numeric character reference
 * end state", and the longest matching name where the semicolon is missing).
 */
import { textTables } from './tables.js'

/** Runs longer than 32 characters are no names; the flag `u` makes them count as in Python. */
const REFERENCE = /&(#[0-9]+;?|#[xX][0-9a-fA-F]+;?|[^\t\n\f <&#;]{1,32};?)/gu

export function unescapeHtml(text: string): string {
  return text.includes('&') ? text.replace(REFERENCE, (_, name: string) => resolveReference(name)) : text
}

function resolveReference(name: string): string {
  if (name.startsWith('#')) {
    const digits = name.slice(1).replace(/;$/, '')
    return numericReference(/^x/i.test(digits) ? Number.parseInt(digits.slice(1), 16) : Number.parseInt(digits, 10))
  }
  const { entities } = textTables()
  if (Object.hasOwn(entities, name)) return entities[name]!
  for (let end = name.length - 1; end > 1; end--) {
    const prefix = name.slice(0, end)
    if (Object.hasOwn(entities, prefix)) return entities[prefix]! + name.slice(end)
  }
  return `&${name}`
}

function numericReference(point: number): string {
  if (point === 0 || (point >= 0xd800 && point <= 0xdfff) || point > 0x10ffff) return '\ufffd'
  if (point === 0x0d) return '\r'
  if (point >= 0x80 && point <= 0x9f) {
    // Browsers read these as Windows-1252; its five holes stay control characters.
    const char = textTables().windows1252[point - 0x80]!
    return char === '\ufffd' ? String.fromCharCode(point) : char
  }
  const control = point < 0x20 && ![0x09, 0x0a, 0x0c].includes(point)
  const noncharacter = (point >= 0xfdd0 && point <= 0xfdef) || (point & 0xfffe) === 0xfffe
  return control || point === 0x7f || noncharacter ? '' : String.fromCodePoint(point)
}
