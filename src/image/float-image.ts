/**
 * Images as floats: what torchvision does with a tensor instead of a PIL image. Resizing with antialiasing has
 * Pillow's kernels and windows, but positions, weights and sums are float32, as torch's CPU kernel computes them
 * (aten/src/ATen/native/cpu/UpSampleKernel.cpp), and nothing is rounded to 8 bits.
 */
import { floatWindows } from './resample-weights.js'
import { roundHalfEven } from './round.js'

/** Filters that torch knows with antialiasing. */
export const FLOAT_FILTERS = ['bilinear', 'bicubic'] as const
export type FloatFilter = (typeof FLOAT_FILTERS)[number]

/** Rows top to bottom, values of 0…1. */
export interface FloatImage {
  data: Float32Array // [H, W, 3]
  width: number
  height: number
}

/** Products are not rounded before they are added: torch's compiler fuses the two. */
const f = Math.fround

export function resizeFloat(image: FloatImage, width: number, height: number, filter: FloatFilter): FloatImage {
  let { data } = image
  // Torch leaves an axis alone that keeps its size only where both do; with these kernels that is the same.
  if (width !== image.width) {
    const { size, starts, lengths, weights } = floatWindows(image.width, width, filter)
    const out = new Float32Array(image.height * width * 3)
    for (let y = 0; y < image.height; y++)
      for (let x = 0; x < width; x++)
        for (let c = 0; c < 3; c++) {
          let sum = 0
          for (let k = 0; k < lengths[x]!; k++)
            sum = f(sum + data[(y * image.width + starts[x]! + k) * 3 + c]! * weights[x * size + k]!)
          out[(y * width + x) * 3 + c] = sum
        }
    data = out
  }
  if (height !== image.height) {
    const { size, starts, lengths, weights } = floatWindows(image.height, height, filter)
    const stride = width * 3
    const out = new Float32Array(height * stride)
    const sums = new Float32Array(stride)
    for (let y = 0; y < height; y++) {
      sums.fill(0)
      for (let k = 0; k < lengths[y]!; k++) {
        const weight = weights[y * size + k]!
        const from = (starts[y]! + k) * stride
        for (let x = 0; x < stride; x++) sums[x] = sums[x]! + data[from + x]! * weight
      }
      out.set(sums, y * stride)
    }
    data = out
  }
  return { data, width, height }
}

/** torchvision CenterCrop; zeros around an image that is smaller. */
export function cropFloat(image: FloatImage, height: number, width: number): FloatImage {
  const data = new Float32Array(height * width * 3)
  const place = (inner: number, outer: number): number =>
    inner < outer ? -Math.floor((outer - inner) / 2) : roundHalfEven((inner - outer) / 2)
  const [top, left] = [place(image.height, height), place(image.width, width)]
  for (let y = Math.max(0, -top); y < Math.min(height, image.height - top); y++) {
    const first = Math.max(0, -left)
    const from = ((y + top) * image.width + first + left) * 3
    const count = (Math.min(width, image.width - left) - first) * 3
    data.set(image.data.subarray(from, from + count), (y * width + first) * 3)
  }
  return { data, width, height }
}
