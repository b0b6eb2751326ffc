import fc from 'fast-check'
import { expect, it } from 'vitest'
import { averageFrozen, clipFactor, globalNorm, OPTIMIZER_DEFAULTS, type TrainedTensor, updateTensor } from './adamw.js'

const numbers = (count: number, seed: number, scale = 1): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => scale * Math.sin(seed + 12.9898 * i))

function tensorOf(count: number, seed: number): TrainedTensor {
  return {
    parameter: numbers(count, seed),
    expAvg: numbers(count, seed + 1, 0.1),
    expAvgSq: numbers(count, seed + 2, 0.01).map((x) => x * x),
    ema: numbers(count, seed + 3),
  }
}

/** torch.optim.AdamW and the average, one element in float64. */
function reference(
  [g, m, v, w, e]: [number, number, number, number, number],
  s: typeof OPTIMIZER_DEFAULTS,
  r: { lr: number; step: number; gradientScale: number },
): number[] {
  const d = g * r.gradientScale
  const m2 = m + (d - m) * (1 - s.beta1)
  const v2 = s.beta2 * v + (1 - s.beta2) * d * d
  const root = Math.sqrt(v2 / (1 - s.beta2 ** r.step)) + s.epsilon
  const w2 = w * (1 - r.lr * s.weightDecay) - (r.lr / (1 - s.beta1 ** r.step)) * (m2 / root)
  return [m2, v2, w2, s.emaDecay * e + (1 - s.emaDecay) * w2]
}

// Blocks have 8,192 elements: sizes around one and around a multiple of four must all be whole.
const sizes = fc.oneof(fc.integer({ min: 1, max: 40 }), fc.constantFrom(8191, 8192, 8193, 16384, 16387))

it('every element is updated as AdamW says, whatever the size of the tensor', () => {
  fc.assert(
    fc.property(
      sizes,
      fc.integer({ min: 1, max: 1000 }),
      fc.double({ min: 1e-5, max: 1e-2, noNaN: true }),
      fc.double({ min: 0, max: 0.1, noNaN: true }),
      fc.double({ min: 0.1, max: 1, noNaN: true }),
      (count, step, lr, weightDecay, gradientScale) => {
        const settings = { ...OPTIMIZER_DEFAULTS, weightDecay, emaDecay: 0.9 }
        const rates = { lr, step, gradientScale }
        const gradient = numbers(count, step)
        const tensor = tensorOf(count, step)
        const before = tensorOf(count, step)
        updateTensor(tensor, gradient, settings, rates)
        for (const i of [0, 1, count >> 1, count - 2, count - 1].filter((at) => at >= 0 && at < count)) {
          const given = [gradient, before.expAvg, before.expAvgSq, before.parameter, before.ema].map((a) => a[i]!)
          const wanted = reference(given as [number, number, number, number, number], settings, rates)
          const got = [tensor.expAvg, tensor.expAvgSq, tensor.parameter, tensor.ema].map((a) => a[i]!)
          got.forEach((value, k) => {
            expect(Math.abs(value - wanted[k]!)).toBeLessThan(1e-6 * (1 + Math.abs(wanted[k]!)))
          })
        }
        const untouched = numbers(count, step)
        expect(gradient.every((value, i) => value === untouched[i])).toBe(true)
      },
    ),
    { numRuns: 25 },
  )
})

it('the norm is that of all gradients together, and clipping scales by it', () => {
  fc.assert(
    fc.property(fc.array(sizes, { minLength: 1, maxLength: 4 }), (counts) => {
      const gradients = counts.map((count, i) => numbers(count, i, 3))
      const exact = Math.sqrt(gradients.reduce((sum, g) => sum + g.reduce((s, x) => s + x * x, 0), 0))
      expect(Math.abs(globalNorm(gradients) / exact - 1)).toBeLessThan(1e-12)
    }),
    { numRuns: 15 },
  )
  const clipped = { ...OPTIMIZER_DEFAULTS, maxGradNorm: 2 }
  expect(clipFactor(1.5, clipped)).toBe(1)
  expect(clipFactor(4, clipped)).toBeCloseTo(0.5, 6)
  expect(clipFactor(1e9, OPTIMIZER_DEFAULTS)).toBe(1)
})

it('a gradient that is not finite shows in the norm', () => {
  const gradient = numbers(100, 1)
  gradient[99] = Number.NaN
  expect(globalNorm([numbers(5, 1), gradient])).toBeNaN()
  gradient[99] = Number.POSITIVE_INFINITY
  expect(globalNorm([gradient])).toBe(Number.POSITIVE_INFINITY)
})

it('the average of a frozen tensor moves towards it', () => {
  const ema = Float32Array.of(1, 0)
  averageFrozen(ema, Float32Array.of(1, 1), 0.75)
  expect([...ema]).toEqual([1, 0.25])
})
