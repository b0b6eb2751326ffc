/**
 * Pillow's resampling, bit for bit (Pillow ≤ 12, src/libImaging/Resample.c, 8 bits per channel): two
 * passes, horizontal first, an 8-bit intermediate. resize-simd.ts does the same with vectors.
 */
import type { RgbImage } from '../types.js'
import { type Coefficients, coefficients, type Filter, HALF, PRECISION_BITS } from './resample-weights.js'
import { resizeSimd } from './resize-simd.js'

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

/** Weights along each axis that changes its size. */
export interface Axes {
  horizontal?: Coefficients
  vertical?: Coefficients
}

function axesTo(image: RgbImage, width: number, height: number, filter: Filter): Axes {
  return {
    ...(width !== image.width && { horizontal: coefficients(image.width, width, filter) }),
    ...(height !== image.height && { vertical: coefficients(image.height, height, filter) }),
  }
}

/**
 * `Image.resize((width, height), filter)` of an RGB image. An image of that size already is returned as it is.
 */
export function resizePillow(image: RgbImage, width: number, height: number, filter: Filter): RgbImage {
  return resizeBy(image, width, height, axesTo(image, width, height, filter))
}

/** Resamples with the given weights, whose windows must lie in the image. */
export function resizeBy(image: RgbImage, width: number, height: number, axes: Axes): RgbImage {
  if (!axes.horizontal && !axes.vertical) return image
  return resizeSimd(image, width, height, axes) ?? referenceBy(image, width, height, axes)
}

/** The same in TypeScript: what resize-simd.ts is checked against, and the fallback. */
export function resizeReference(image: RgbImage, width: number, height: number, filter: Filter): RgbImage {
  return referenceBy(image, width, height, axesTo(image, width, height, filter))
}

function referenceBy(image: RgbImage, width: number, height: number, axes: Axes): RgbImage {
  let { data } = image
  if (axes.horizontal) data = horizontal(data, image.width, image.height, width, axes.horizontal)
  if (axes.vertical) data = vertical(data, width, height, axes.vertical)
  return { data, width, height }
}
