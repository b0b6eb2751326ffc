import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { cleanLine, jsonText, printable, shortened } from './clean.js'

describe('printable', () => {
  it('shows what would steer a terminal, and leaves every other name as it is', () => {
    expect(printable('a\u001b[2J\n\u009bb\u202egpj.exe\u007f')).toBe('a\\x1b[2J\\n\\x9bb\\u202egpj.exe\\x7f')
    expect(printable('Straße/日本/photo#1 (ü) 👩‍🚀.jpg')).toBe('Straße/日本/photo#1 (ü) 👩‍🚀.jpg')
  })

  it('leaves no control character of any text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 40 }), (text) => {
        expect(/[\p{Cc}\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]/u.test(cleanLine(text))).toBe(false)
      }),
    )
  })
})

describe('long names', () => {
  it('lose their middle, never their end', () => {
    expect(shortened('abcdefghij', 7)).toBe('abcd…ij')
    expect(shortened('abcdefg', 7)).toBe('abcdefg')
    expect([...shortened('👍'.repeat(100), 10)]).toHaveLength(10)
  })

  it('do not hide the words around them, at any length', () => {
    for (const length of [1000, 1e5, 3e6]) {
      const line = cleanLine(`tensor ${'x'.repeat(length)}.weight is not known`)
      expect(line.length).toBeLessThan(4001)
      expect(line).toMatch(/^tensor x+…x+/)
      if (length < 10_000) expect(line).toMatch(/\.weight is not known$/)
    }
  })
})

describe('jsonText', () => {
  it('is the same data, without a character that a terminal obeys', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 40 }), (text) => {
        const json = jsonText({ [text]: text }, 2)
        expect(JSON.parse(json)).toEqual({ [text]: text })
        expect(json.replaceAll('\n', '')).not.toMatch(/\p{Cc}/u)
      }),
    )
  })
})
