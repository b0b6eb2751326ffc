import fc from 'fast-check'
import { expect, it } from 'vitest'
import { ownUnits, shuffled } from './units.js'

it('slices of all workers are a partition of the units', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 200 }), fc.integer({ min: 1, max: 20 }), (units, count) => {
      const all = Array.from({ length: units }, (_, i) => i)
      const slices = Array.from({ length: count }, (_, index) => ownUnits(all, { index, count }))
      expect(slices.flat().sort((a, b) => a - b)).toEqual(all)
    }),
  )
})

it('given unit numbers replace the slice', () => {
  expect(ownUnits([0, 1, 2, 3], { index: 0, count: 2 }, [3, 1, 9])).toEqual([1, 3])
})

it('a shuffle is a permutation, repeats for its seed and differs between workers', () => {
  const all = Array.from({ length: 100 }, (_, i) => i)
  expect(shuffled(all, 1)).toEqual(shuffled(all, 1))
  expect(shuffled(all, 1)).not.toEqual(shuffled(all, 2))
  expect(shuffled(all, 3).sort((a, b) => a - b)).toEqual(all)
})
