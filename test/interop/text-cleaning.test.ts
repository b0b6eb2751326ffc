/** Text cleaning against ftfy, Python's html module and the regex module themselves, on made strings. */
import { beforeAll, describe, expect, it } from 'vitest'
import { fixText } from '../../src/model/text/fix-text.js'
import { cleanText, splitPieces } from '../../src/model/text/tokenizer.js'
import { interopPython, runPython } from './python.js'

const SEED = 1
const STRINGS = 5000

let python: string
beforeAll(async () => {
  python = await interopPython()
}, 600_000)

describe('text cleaning', () => {
  it(`agrees with ftfy, html.unescape, str.lower and regex on ${STRINGS} awkward strings`, async () => {
    const lines = (await runPython(python, 'clean_texts.py', [String(SEED), String(STRINGS)])).trimEnd().split('\n')
    expect(lines.length).toBe(STRINGS)
    for (const line of lines) {
      const { text, fixed, clean, pieces } = JSON.parse(line) as Record<string, string>
      expect(fixText(text!), text).toBe(fixed)
      expect(cleanText(text!), text).toBe(clean)
      expect(splitPieces(clean!), text).toEqual(pieces)
    }
  })
})
