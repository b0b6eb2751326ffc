import { expect, it } from 'vitest'
import { compareOutputs } from './model-check.js'

it('mean relative error is over all values, the cosine is the mean over images', () => {
  const exact = { x: Float32Array.from([1, 0, 0, 2]) }
  const other = { x: Float32Array.from([1, 1, 0, 1]) }
  const [error] = compareOutputs(other, exact, 2)
  expect(error!.output).toBe('x')
  expect(error!.meanRelative).toBeCloseTo(2 / 3, 12)
  expect(error!.cosine).toBeCloseTo((Math.SQRT1_2 + 1) / 2, 12)
  expect(compareOutputs(exact, exact, 2)).toEqual([{ output: 'x', meanRelative: 0, cosine: 1 }])
})
