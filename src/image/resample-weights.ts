/**
 * Windows and weights of Pillow's resampling (Pillow ≤ 12, src/libImaging/Resample.c, precompute_coeffs):
 * support scaled when shrinking, fixed point with 22 fractional bits rounded half away from zero.
 */

export const FILTERS = ['bilinear', 'bicubic', 'box', 'hamming', 'lanczos'] as const
export type Filter = (typeof FILTERS)[number]

const sinc = (x: number): number => (x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI))

const KERNELS: Record<Filter, { support: number; weight: (x: number) => number }> = {
  box: { support: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  hamming: {
    support: 1,
    weight: (value) => {
      const x = Math.abs(value)
      if (x === 0) return 1
      if (x >= 1) return 0
      const angle = x * Math.PI
      return (Math.sin(angle) / angle) * (0.54 + 0.46 * Math.cos(angle))
    },
  },
  bicubic: {
    support: 2,
    weight: (value) => {
      const a = -0.5
      const x = Math.abs(value)
      if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1
      if (x < 2) return (((x - 5) * x + 8) * x - 4) * a
      return 0
    },
  },
  lanczos: { support: 3, weight: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
}

/** Fractional bits of the fixed-point weights. */
export const PRECISION_BITS = 32 - 8 - 2
export const HALF = 1 << (PRECISION_BITS - 1)

/** For each output position: where its window starts, how long it is, and its fixed-point weights. */
export interface Coefficients {
  size: number
  starts: Int32Array
  lengths: Int32Array
  /** `size` weights per output position; unused ones are 0. */
  weights: Int32Array
}

const cache = new Map<string, Coefficients>()
const CACHE_ENTRIES = 256
/** Larger tables are made anew each time: a few very long images must not fill the memory. */
const CACHED_WEIGHTS = 1 << 16

/** Coefficients for one axis, remembered: datasets have few distinct sizes. */
export function coefficients(inSize: number, outSize: number, filter: Filter): Coefficients {
  const key = `${filter} ${inSize} ${outSize}`
  let found = cache.get(key)
  if (!found) {
    found = computeCoefficients(inSize, outSize, filter)
    if (found.weights.length > CACHED_WEIGHTS) return found
    if (cache.size >= CACHE_ENTRIES) cache.delete(cache.keys().next().value!)
    cache.set(key, found)
  }
  return found
}

/** Windows and weights before they are rounded to fixed point; each window's weights add up to 1. */
export interface Windows extends Omit<Coefficients, 'weights'> {
  weights: Float64Array
}

export function resampleWindows(inSize: number, outSize: number, filter: Filter): Windows {
  const kernel = KERNELS[filter]
  const scale = inSize / outSize
  const filterScale = Math.max(scale, 1)
  const support = kernel.support * filterScale
  const size = Math.ceil(support) * 2 + 1
  const inverse = 1 / filterScale
  const starts = new Int32Array(outSize)
  const lengths = new Int32Array(outSize)
  const weights = new Float64Array(outSize * size)
  for (let x = 0; x < outSize; x++) {
    const center = (x + 0.5) * scale
    const first = Math.max(0, Math.trunc(center - support + 0.5))
    const length = Math.min(inSize, Math.trunc(center + support + 0.5)) - first
    let total = 0
    for (let i = 0; i < length; i++) {
      const w = kernel.weight((i + first - center + 0.5) * inverse)
      weights[x * size + i] = w
      total += w
    }
    if (total !== 0) for (let i = 0; i < length; i++) weights[x * size + i]! /= total
    starts[x] = first
    lengths[x] = length
  }
  return { size, starts, lengths, weights }
}

/** The same in float32, step by step as torch computes windows and weights for tensors. */
export function floatWindows(inSize: number, outSize: number, filter: Filter): Windows {
  const f = Math.fround
  const kernel = KERNELS[filter]
  const scale = f(inSize / outSize)
  const support = scale >= 1 ? f(kernel.support * scale) : kernel.support
  const inverse = scale >= 1 ? f(1 / scale) : 1
  const size = Math.ceil(support) * 2 + 1
  const starts = new Int32Array(outSize)
  const lengths = new Int32Array(outSize)
  const weights = new Float64Array(outSize * size)
  for (let x = 0; x < outSize; x++) {
    const center = f(scale * (x + 0.5))
    const first = Math.max(0, Math.trunc(f(center - support) + 0.5))
    const length = Math.min(inSize, Math.trunc(f(center + support) + 0.5)) - first
    let total = 0
    for (let i = 0; i < length; i++) {
      const w = f(kernel.weight(f(f(f(i + first - center) + 0.5) * inverse)))
      weights[x * size + i] = w
      total = f(total + w)
    }
    if (total !== 0) for (let i = 0; i < length; i++) weights[x * size + i] = f(weights[x * size + i]! / total)
    starts[x] = first
    lengths[x] = length
  }
  return { size, starts, lengths, weights }
}

function computeCoefficients(inSize: number, outSize: number, filter: Filter): Coefficients {
  const windows = resampleWindows(inSize, outSize, filter)
  const weights = Int32Array.from(windows.weights, (w) => {
    const fixed = w * (1 << PRECISION_BITS)
    return Math.trunc(w < 0 ? fixed - 0.5 : fixed + 0.5)
  })
  return { ...windows, weights }
}
