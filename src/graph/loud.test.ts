import { expect, it } from 'vitest'
import { loudChannels, onlyRows, withoutRows } from './loud.js'

it('channels are loud that stand far out, in their order, and never more than a few', () => {
  const sizes = new Float32Array(64).fill(1)
  expect(loudChannels(sizes)).toEqual([])
  sizes[40] = 30
  sizes[3] = 7
  sizes[9] = 5
  expect(loudChannels(sizes)).toEqual([3, 40])
  sizes.fill(50, 0, 20)
  expect(loudChannels(sizes)).toHaveLength(2)
  expect(loudChannels(new Float32Array(64))).toEqual([])
})

it('a matrix falls apart into its loud rows and all the others', () => {
  const matrix = Float32Array.from([1, 2, 3, 4, 5, 6]) // [3, 2]
  expect([...onlyRows(matrix, 2, [0, 2])]).toEqual([1, 2, 5, 6])
  expect([...withoutRows(matrix, 2, [0, 2])]).toEqual([0, 0, 3, 4, 0, 0])
  expect(withoutRows(matrix, 2, [])).toBe(matrix)
})
