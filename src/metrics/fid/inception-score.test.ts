import { expect, it } from 'vitest'
import { ADM_SPLIT, partsOf, splitsOf } from './inception-score.js'

it('splits of equal size, or of 5,000 rows with a shorter last one as ADM', () => {
  expect(splitsOf(25, 10).map(([start, end]) => end - start)).toEqual([2, 3, 2, 3, 2, 3, 2, 3, 2, 3])
  expect(splitsOf(3, 10)).toEqual([
    [0, 1],
    [1, 2],
    [2, 3],
  ])
  expect(partsOf(12_000, ADM_SPLIT)).toEqual([
    [0, 5000],
    [5000, 10_000],
    [10_000, 12_000],
  ])
})
