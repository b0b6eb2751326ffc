import fc from 'fast-check'
import { expect, it } from 'vitest'
import { float16ToFloat32, float32ToFloat16 } from './half.js'
import { type Moments, mergeMoments, momentsToStats, plainMoments, tallyMoments } from './moments.js'

function rowMoments(data: Float32Array): Moments {
  const tally = tallyMoments(1, data.length)
  tally.add(data, 0)
  return tally.moments!
}

it('merged moments of parts equal those of the whole, in any grouping', () => {
  const values = fc.array(fc.float({ min: -100, max: 100, noNaN: true }), { minLength: 4, maxLength: 60 })
  fc.assert(
    fc.property(values, fc.nat(), (list, seed) => {
      const data = Float32Array.from(list)
      const cut = 1 + (seed % (data.length - 1))
      const whole = rowMoments(data)
      const merged = mergeMoments(rowMoments(data.slice(0, cut)), rowMoments(data.slice(cut)))
      expect(merged.count).toBe(whole.count)
      expect(merged.mean[0]).toBeCloseTo(whole.mean[0]!, 9)
      expect(merged.m2[0]).toBeCloseTo(whole.m2[0]!, 6)
    }),
  )
})

it('the deviation is unbiased, as torch.std', () => {
  const stats = momentsToStats(rowMoments(Float32Array.of(1, 2, 3, 4)))
  expect(stats.mean[0]).toBe(2.5)
  expect(stats.std[0]).toBeCloseTo(Math.sqrt(5 / 3), 6)
})

it('are the plain sums of each channel in the order of its values, to the bit, for any number of channels', () => {
  const rows = 3
  for (const [channels, size] of [
    [1, 5],
    [3, 4],
    [4, 7],
    [6, 256],
    [9, 6],
    [17, 33],
  ] as const) {
    const halves = float32ToFloat16(Float32Array.from({ length: rows * channels * size }, (_, i) => Math.sin(i) * 9))
    const data = float16ToFloat32(halves)
    let expected: Moments = { count: 0, mean: [], m2: [] }
    for (let row = 0; row < rows; row++) {
      const channel = (c: number) => [...data.subarray((row * channels + c) * size, (row * channels + c + 1) * size)]
      const mean = Array.from({ length: channels }, (_, c) => channel(c).reduce((a, b) => a + b, 0) / size)
      const m2 = mean.map((average, c) => channel(c).reduce((sum, x) => sum + (x - average) * (x - average), 0))
      expected = mergeMoments(expected, { count: size, mean, m2 })
    }
    for (const values of [data, halves]) {
      const tally = tallyMoments(channels, size)
      for (let row = 0; row < rows; row++) tally.add(values, row * channels * size)
      expect(tally.moments).toEqual(expected)
    }
  }
})

it('have the same bits with and without WebAssembly, for every half and for extreme floats', () => {
  const halves = Uint16Array.from({ length: 65536 }, (_, bits) => bits)
  const extremes = [0, -0, 1e-45, -1e-40, 3.4e38, -3.4e38, 1 + 2 ** -23, Number.POSITIVE_INFINITY, Number.NaN]
  const floats = Float32Array.from({ length: 9 * extremes.length }, (_, i) => extremes[Math.floor(i / 9)]! * (1 + i))
  for (const [data, channels] of [
    [halves, 65536],
    [halves, 2048],
    [floats, floats.length],
    [floats, 27],
  ] as const) {
    const size = data.length / channels
    const tally = tallyMoments(channels, size)
    tally.add(data, 0)
    const { means, squares } = plainMoments(channels, size)(data, 0)
    expect(tally.moments).toEqual({ count: size, mean: [...means], m2: [...squares] })
  }
})
