import fc from 'fast-check'
import { expect, it } from 'vitest'
import { mergeMoments, momentsToStats, rowMoments } from './moments.js'

it('merged moments of parts equal those of the whole, in any grouping', () => {
  const values = fc.array(fc.float({ min: -100, max: 100, noNaN: true }), { minLength: 4, maxLength: 60 })
  fc.assert(
    fc.property(values, fc.nat(), (list, seed) => {
      const data = Float32Array.from(list)
      const cut = 1 + (seed % (data.length - 1))
      const whole = rowMoments(data, 0, 1, data.length)
      const merged = mergeMoments(
        rowMoments(data.slice(0, cut), 0, 1, cut),
        rowMoments(data.slice(cut), 0, 1, data.length - cut),
      )
      expect(merged.count).toBe(whole.count)
      expect(merged.mean[0]).toBeCloseTo(whole.mean[0]!, 9)
      expect(merged.m2[0]).toBeCloseTo(whole.m2[0]!, 6)
    }),
  )
})

it('the deviation is unbiased, as torch.std', () => {
  const stats = momentsToStats(rowMoments(Float32Array.of(1, 2, 3, 4), 0, 1, 4))
  expect(stats.mean[0]).toBe(2.5)
  expect(stats.std[0]).toBeCloseTo(Math.sqrt(5 / 3), 6)
})
