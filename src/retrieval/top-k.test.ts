import fc from 'fast-check'
import { expect, it } from 'vitest'
import { createTopK } from './top-k.js'

it('keeps the best scores, ties in the order of the rows, whatever the blocks', () => {
  const score = fc.integer({ min: -5, max: 5 }).map((n) => n / 8)
  fc.assert(
    fc.property(
      fc.array(fc.array(score, { maxLength: 12 }), { maxLength: 6 }),
      fc.integer({ min: 0, max: 20 }),
      fc.array(fc.boolean(), { minLength: 80, maxLength: 80 }),
      (blocks, k, allowed) => {
        const mask = Uint8Array.from(allowed, Number)
        const top = createTopK(k)
        let first = 0
        for (const block of blocks) {
          top.add(Float32Array.from(block), first, mask)
          first += block.length
        }
        const wanted = blocks
          .flat()
          .map((value, row) => ({ row, score: value }))
          .filter(({ row, score }) => mask[row] === 1 && score !== 0)
          .sort((a, b) => b.score - a.score || a.row - b.row)
          .slice(0, k)
        expect(top.hits()).toEqual(wanted)
      },
    ),
  )
})
