import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type TextPool, tokensNeeded } from './text-tower.js'

const ids = (...values: number[]): BigInt64Array => BigInt64Array.from(values, BigInt)

describe('tokens that a text needs', () => {
  it.each<[TextPool, number[], number]>([
    ['argmax', [49406, 320, 49407, 0, 0], 3],
    ['argmax', [49406, 49407, 7, 49407, 0], 2],
    ['argmax', [5, 4, 3], 1],
    [{ firstOf: 2 }, [0, 9, 2, 1, 2], 3],
    [{ firstOf: 2 }, [0, 9, 8, 1, 1], 1],
    ['first', [0, 9, 2], 1],
  ])('pooled by %j, %j: %i', (pool, row, needed) => {
    expect(tokensNeeded(pool, true)!(ids(...row))).toBe(needed)
  })

  it('all where tokens see those behind them, or the last one stands for the text', () => {
    expect(tokensNeeded('argmax', false)).toBeUndefined()
    expect(tokensNeeded('last', true)).toBeUndefined()
  })

  it('what lies behind them may be cut off: the same token is found', () => {
    const pools = fc.constantFrom<TextPool>('argmax', 'first', { firstOf: 3 })
    fc.assert(
      fc.property(pools, fc.array(fc.nat(5), { minLength: 1, maxLength: 12 }), (pool, row) => {
        const needed = tokensNeeded(pool, true)!
        const count = needed(ids(...row))
        for (let cut = count; cut <= row.length; cut++) expect(needed(ids(...row.slice(0, cut)))).toBe(count)
      }),
    )
  })
})
