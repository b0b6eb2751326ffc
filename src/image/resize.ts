/**
 * Pillow's resampling, bit for bit (Pillow ≤ 12, src/libImaging/Resample.c, 8 bits per channel): two
 * passes, horizontal first, an 8-bit intermediate, coefficients in fixed point with 22 fractional bits
 * rounded half away from zero, support scaled when shrinking. resize-simd.ts does the same with vectors.
 */
import type { RgbImage } from '../types.js'
import { resizeSimd } from './resize-simd.js'

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

const PRECISION_BITS = 32 - 8 - 2
const HALF = 1 << (PRECISION_BITS - 1)

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

function computeCoefficients(inSize: number, outSize: number, filter: Filter): Coefficients {
  const windows = resampleWindows(inSize, outSize, filter)
  const weights = Int32Array.from(windows.weights, (w) => {
    const fixed = w * (1 << PRECISION_BITS)
    return Math.trunc(w < 0 ? fixed - 0.5 : fixed + 0.5)
  })
  return { ...windows, weights }
}

const clip = (value: number): number => Math.min(255, Math.max(0, value))

/** Rows of `width` pixels → rows of `outWidth` pixels. */
function horizontal(data: Uint8Array, width: number, height: number, outWidth: number, c: Coefficients): Uint8Array {
  const out = new Uint8Array(height * outWidth * 3)
  const { size, starts, lengths, weights } = c
  for (let y = 0; y < height; y++) {
    const line = y * width * 3
    let to = y * outWidth * 3
    for (let x = 0; x < outWidth; x++) {
      let r = HALF
      let g = HALF
      let b = HALF
      let from = line + starts[x]! * 3
      const end = x * size + lengths[x]!
      for (let k = x * size; k < end; k++) {
        const w = weights[k]!
        r = (r + data[from]! * w) | 0
        g = (g + data[from + 1]! * w) | 0
        b = (b + data[from + 2]! * w) | 0
        from += 3
      }
      out[to] = clip(r >> PRECISION_BITS)
      out[to + 1] = clip(g >> PRECISION_BITS)
      out[to + 2] = clip(b >> PRECISION_BITS)
      to += 3
    }
  }
  return out
}

function vertical(data: Uint8Array, width: number, outHeight: number, c: Coefficients): Uint8Array {
  const stride = width * 3
  const out = new Uint8Array(outHeight * stride)
  const { size, starts, lengths, weights } = c
  const sums = new Int32Array(stride)
  for (let y = 0; y < outHeight; y++) {
    sums.fill(HALF)
    // Row by row: the inner loop runs over consecutive bytes.
    for (let i = 0; i < lengths[y]!; i++) {
      const w = weights[y * size + i]!
      const from = (starts[y]! + i) * stride
      for (let x = 0; x < stride; x++) sums[x] = sums[x]! + data[from + x]! * w
    }
    const to = y * stride
    for (let x = 0; x < stride; x++) out[to + x] = clip(sums[x]! >> PRECISION_BITS)
  }
  return out
}

/**
 * `Image.resize((width, height), filter)` of an RGB image. An image of that size already is returned as it is.
 */
export function resizePillow(image: RgbImage, width: number, height: number, filter: Filter): RgbImage {
  if (width === image.width && height === image.height) return image
  const axes = {
    ...(width !== image.width && { horizontal: coefficients(image.width, width, filter) }),
    ...(height !== image.height && { vertical: coefficients(image.height, height, filter) }),
  }
  return resizeSimd(image, width, height, axes) ?? resizeReference(image, width, height, filter)
}

/** The same in TypeScript: what resize-simd.ts is checked against, and the fallback. */
export function resizeReference(image: RgbImage, width: number, height: number, filter: Filter): RgbImage {
  let { data } = image
  if (width !== image.width) {
    data = horizontal(data, image.width, image.height, width, coefficients(image.width, width, filter))
  }
  if (height !== image.height) data = vertical(data, width, height, coefficients(image.height, height, filter))
  return { data, width, height }
}
