/**
 * CLIP's tokenizer: text → ids. Cleaning (`fix_text`, HTML entities, white space, lower case), the pieces of
 * a regular expression, then byte-pair merges. Ids equal those of open_clip's SimpleTokenizer and of VTP's
 * vtp/tokenizers/text_tokenizer.py. The vocabulary is OpenAI's (models/clip-text/README.md).
 */
import { readFileSync } from 'node:fs'
import { brotliDecompressSync } from 'node:zlib'
import { fixText } from './fix-text.js'
import { unescapeHtml } from './html.js'
import { collapseSpaces, lower } from './python-text.js'
import { CLIP_TEXT_FOLDER, classOf, textTables } from './tables.js'

export const VOCAB_SIZE = 49408
export const START_ID = 49406
export const END_ID = 49407

const START = '<start_of_text>'
const END = '<end_of_text>'
/** Words are cached, as they recur; text from outside must not fill the memory. */
const CACHE_WORDS = 100_000

export interface Tokenizer {
  /** Ids of a text, without start and end: integers below 49408. */
  encode(text: string): number[]
  /**
   * Ids of each text with start and end, cut to `length` (the last id is then the end's) or padded with 0:
   * int64 [texts, length], flat.
   */
  encodeBatch(texts: readonly string[], length: number): BigInt64Array
}

/** The text as the tokenizer sees it. */
export function cleanText(text: string): string {
  return lower(collapseSpaces(unescapeHtml(unescapeHtml(fixText(text)))))
}

let pieces: RegExp | undefined

/** The pieces of a cleaned text that are encoded one by one. */
export function splitPieces(clean: string): string[] {
  if (!pieces) {
    const { letters, numbers } = textTables()
    const [letter, number] = [classOf(letters), classOf(numbers)]
    // The reference ignores case: ſ is an s, and U+0345, which folds to a letter, is dropped as neither.
    const words = `<[sſ]tart_of_text>|<end_of_text>|'[sſ]|'t|'re|'ve|'m|'ll|'d`
    pieces = new RegExp(`${words}|[${letter}]+|[${number}]|[^ \\u0345${letter}${number}]+`, 'gu')
  }
  return clean.match(pieces) ?? []
}

/** The characters that stand for bytes 0 to 255 in the vocabulary: printable ones for themselves. */
function byteCharacters(): { chars: string[]; order: string[] } {
  const printable = (b: number): boolean => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174
  const chars: string[] = []
  for (let byte = 0, next = 256; byte < 256; byte++) chars.push(String.fromCharCode(printable(byte) ? byte : next++))
  const bytes = [...chars.keys()]
  const order = [...bytes.filter(printable), ...bytes.filter((b) => !printable(b))].map((b) => chars[b]!)
  return { chars, order }
}

interface Vocabulary {
  /** By byte. */
  chars: string[]
  ids: Map<string, number>
  /** By "first second". */
  ranks: Map<string, number>
}

function loadVocabulary(): Vocabulary {
  const merges = brotliDecompressSync(readFileSync(new URL('merges.txt.br', CLIP_TEXT_FOLDER)))
    .toString()
    .split('\n')
  const { chars, order } = byteCharacters()
  const ids = new Map<string, number>()
  for (const symbol of [...order, ...order.map((c) => `${c}</w>`)]) ids.set(symbol, ids.size)
  const ranks = new Map<string, number>()
  for (const merge of merges) {
    ranks.set(merge, ranks.size)
    ids.set(merge.replace(' ', ''), 512 + ranks.size - 1)
  }
  ids.set(START, START_ID)
  ids.set(END, END_ID)
  return { chars, ids, ranks }
}

let vocabulary: Vocabulary | undefined

/** Loads the vocabulary on first use (about 50 ms). */
export function createTokenizer(): Tokenizer {
  vocabulary ??= loadVocabulary()
  const { chars, ids, ranks } = vocabulary
  const cache = new Map<string, number[]>([
    [START, [START_ID]],
    [END, [END_ID]],
  ])

  const encodeWord = (word: string): number[] => {
    const found = cache.get(word)
    if (found) return found
    const symbols = [...word]
    symbols[symbols.length - 1] += '</w>'
    const result = mergeSymbols(symbols, ranks).map((symbol) => ids.get(symbol)!)
    if (cache.size >= CACHE_WORDS) {
      const oldest = [...cache.keys()].slice(2, CACHE_WORDS / 2)
      for (const key of oldest) cache.delete(key)
    }
    cache.set(word, result)
    return result
  }
  const encode = (text: string): number[] => {
    const out: number[] = []
    for (const piece of splitPieces(cleanText(text))) {
      let word = ''
      for (const byte of Buffer.from(piece)) word += chars[byte]!
      for (const id of encodeWord(word)) out.push(id)
    }
    return out
  }
  return {
    encode,
    encodeBatch(texts, length) {
      const out = new BigInt64Array(texts.length * length)
      texts.forEach((text, row) => {
        const all = [START_ID, ...encode(text), END_ID]
        if (all.length > length) all[length - 1] = END_ID
        for (let i = 0; i < Math.min(length, all.length); i++) out[row * length + i] = BigInt(all[i]!)
      })
      return out
    },
  }
}

/** Byte-pair encoding: merges the pair of the lowest rank, everywhere, until no pair has one. */
function mergeSymbols(symbols: string[], ranks: Map<string, number>): string[] {
  while (symbols.length > 1) {
    let best = Number.POSITIVE_INFINITY
    let at = -1
    for (let i = 0; i + 1 < symbols.length; i++) {
      const rank = ranks.get(`${symbols[i]} ${symbols[i + 1]}`)
      if (rank !== undefined && rank < best) {
        best = rank
        at = i
      }
    }
    if (at < 0) break
    const [first, second] = [symbols[at]!, symbols[at + 1]!]
    const merged: string[] = []
    for (let i = 0; i < symbols.length; i++) {
      if (symbols[i] === first && symbols[i + 1] === second) {
        merged.push(first + second)
        i++
      } else merged.push(symbols[i]!)
    }
    symbols = merged
  }
  return symbols
}
