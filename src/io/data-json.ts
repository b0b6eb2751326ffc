/**
 * JSON as data sets hold it: what Python's json module writes and reads. NaN and Infinity, which JSON does
 * not know, are missing values; whole numbers that no double holds are kept as their digits, in a string.
 */

/** A string, or what stands outside of strings and is no JSON, or loses digits in JavaScript. */
const TOKENS = /"(?:[^"\\]|\\.)*"|-?Infinity\b|\bNaN\b|(?<![\w.+-])-?\d{16,}(?![\d.eE])/g

/** Throws SyntaxError. */
export function parseDataJson(text: string): unknown {
  if (!/NaN|Infinity|\d{16}/.test(text)) return JSON.parse(text)
  return JSON.parse(
    text.replace(TOKENS, (token) => {
      if (token.startsWith('"')) return token
      if (/[NI]/.test(token)) return 'null'
      return Number.isSafeInteger(Number(token)) ? token : `"${token}"`
    }),
  )
}
