/** SigLIP's tokenizer against sentencepiece: every text of the reference data, normalised form and ids. */
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { canonicalText } from '../../src/model/siglip/tokenizer.js'
import { createUnigramTokenizer, normalizeText, parseSpiece } from '../../src/model/text/sentencepiece.js'
import { goldenPath } from '../golden.js'

interface Row {
  text: string
  canonical: string
  normalised: string
  ids_spm: number[]
  ids: number[]
}

const file = goldenPath('peers', 'siglip_tokenizer', 'spiece.model')
const { rows, length } = JSON.parse(readFileSync(goldenPath('peers', 'siglip_tokenizer', 'expected.json'), 'utf8')) as {
  rows: Row[]
  length: number
}

describe('the unigram tokenizer', () => {
  const model = parseSpiece(readFileSync(file), file)
  const tokenizer = createUnigramTokenizer(model)

  it.each(rows)('$text', ({ text, canonical, normalised, ids_spm, ids }) => {
    expect(canonicalText(text)).toBe(canonical)
    expect(normalizeText(model, canonical)).toBe(normalised)
    expect(tokenizer.encode(canonical)).toEqual(ids_spm)
    const padded = [...ids_spm.slice(0, length - 1), ...new Array(length).fill(1)].slice(0, length)
    expect(padded).toEqual(ids)
  })
})
