import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { spreadRows } from './sample.js'

describe('the sample of an index', () => {
  it('has every row once', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 500 }), (rows) => {
        const order = [...spreadRows(rows)]
        expect(order[0]).toBe(0)
        expect(new Set(order).size).toBe(rows)
        expect(order).toHaveLength(rows)
      }),
    )
  })

  it('is spread evenly, however few rows are looked at', () => {
    const rows = 100_000
    const first = spreadRows(rows)
    const seen = Array.from({ length: 24 }, () => first.next().value as number).sort((a, b) => a - b)
    const gaps = [...seen.slice(1), rows].map((row, i) => row - seen[i]!)
    expect(Math.max(...gaps)).toBeLessThan((3 * rows) / 24)
  })
})
