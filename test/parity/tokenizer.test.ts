/** Text: the tokenizer's ids equal the official ones, and so the features of a prompt do. */
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { openSafetensors } from '../../src/io/safetensors.js'
import { fixText } from '../../src/model/text/fix-text.js'
import { cleanText, createTokenizer, splitPieces } from '../../src/model/text/tokenizer.js'
import { goldenPath } from '../golden.js'

interface Row {
  text: string
  ftfy: string
  clean: string
  n_tokens: number
  pieces: string[]
}

const { rows } = JSON.parse(readFileSync(goldenPath('tokenizer', 'strings.json'), 'utf8')) as { rows: Row[] }
const tokenizer = createTokenizer()

async function readIds(file: string, name: string): Promise<bigint[]> {
  const tensors = await openSafetensors(goldenPath('tokenizer', file))
  try {
    const bytes = await tensors.readBytes(name)
    return [...new BigInt64Array(bytes.slice().buffer)]
  } finally {
    await tensors.close()
  }
}

describe('tokenizer', () => {
  it('repairs, cleans and splits every reference string as ftfy and open_clip do', () => {
    for (const row of rows) {
      expect(fixText(row.text), row.text).toBe(row.ftfy)
      const clean = cleanText(row.text)
      expect(clean, row.text).toBe(row.clean)
      // The reference file keeps the first pieces only.
      expect(splitPieces(clean).slice(0, row.pieces.length), row.text).toEqual(row.pieces)
      expect(tokenizer.encode(row.text).length + 2, row.text).toBe(row.n_tokens)
    }
  })

  it.each([77, 32, 16])('gives the official ids at context length %i, padded or cut', async (length) => {
    const wanted = await readIds('ids.safetensors', `ids_${length}`)
    const texts = rows.map((row) => row.text)
    const ids = tokenizer.encodeBatch(texts, length)
    expect(ids.length).toBe(wanted.length)
    texts.forEach((text, i) => {
      const slice = [...ids.subarray(i * length, (i + 1) * length)]
      expect(slice, JSON.stringify(text)).toEqual(wanted.slice(i * length, (i + 1) * length))
    })
  })

  it('gives the official ids of the zero-shot prompts', async () => {
    const { texts } = JSON.parse(readFileSync(goldenPath('tokenizer', 'zeroshot_prompts.json'), 'utf8')) as {
      texts: string[]
    }
    const file = await openSafetensors(goldenPath('tokenizer', 'zeroshot_prompts.safetensors'))
    const [name] = [...file.tensors.keys()]
    await file.close()
    const wanted = await readIds('zeroshot_prompts.safetensors', name!)
    const ids = [...tokenizer.encodeBatch(texts, wanted.length / texts.length)]
    expect(ids).toEqual(wanted)
  })

  it('keeps the cost of a text bounded by its length, whatever it holds', () => {
    const words = Array.from({ length: 200_000 }, (_, i) => `w${i.toString(36)}`).join(' ')
    expect(tokenizer.encode(words).length).toBeGreaterThan(200_000)
    expect(tokenizer.encode('a'.repeat(5000)).length).toBeGreaterThan(100)
  })
})
