import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { didYouMean, editDistance } from './suggest.js'

describe('editDistance', () => {
  it('counts insertions, deletions, replacements and swaps of neighbours', () => {
    expect(editDistance('', 'abc')).toBe(3)
    expect(editDistance('kitten', 'sitting')).toBe(3)
    expect(editDistance('ouptut', 'output')).toBe(1)
    expect(editDistance('same', 'same')).toBe(0)
  })

  it('is symmetric, zero only for equal texts, and at most the longer length', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 12 }), fc.string({ maxLength: 12 }), (a, b) => {
        const distance = editDistance(a, b)
        expect(editDistance(b, a)).toBe(distance)
        expect(distance === 0).toBe(a === b)
        expect(distance).toBeLessThanOrEqual(Math.max(a.length, b.length))
      }),
    )
  })
})

describe('didYouMean', () => {
  const flags = ['model', 'outputs', 'shard-rows', 'flip', 'format', 'dtype']

  it('finds the name behind a slip', () => {
    expect(didYouMean('modle', flags)).toBe('model')
    expect(didYouMean('output', flags)).toBe('outputs')
    expect(didYouMean('FLIP', flags)).toBe('flip')
    expect(didYouMean('flpi', flags)).toBe('flip')
  })

  it('completes a beginning', () => {
    expect(didYouMean('shard', flags)).toBe('shard-rows')
  })

  it('stays silent when nothing is near', () => {
    expect(didYouMean('zebra', flags)).toBeUndefined()
    expect(didYouMean('x', flags)).toBeUndefined()
    expect(didYouMean('model', [])).toBeUndefined()
  })
})
