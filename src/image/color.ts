/**
 * Colour operations of torchvision's augmentations on 8-bit images, in Pillow's arithmetic (ImageEnhance, the HSV
 * conversion, ImageOps.solarize): bit for bit, given their parameters. Gaussian blur is torchvision's float32
 * convolution, within one level.
 */
import type { RgbImage } from '../types.js'
import { roundHalfEven } from './round.js'

const PIXEL = 3

/** L of a pixel, as Pillow makes it. */
function grey(r: number, g: number, b: number): number {
  return (19595 * r + 38470 * g + 7471 * b + 32768) >> 16
}

/** a + f (x − a) in float32, clipped and cut off. */
function blend(a: number, x: number, factor: number): number {
  const value = Math.fround(a + Math.fround(factor * (x - a)))
  return value <= 0 ? 0 : value >= 255 ? 255 : Math.trunc(value)
}

function mapBytes({ data, width, height }: RgbImage, table: Uint8Array): RgbImage {
  return { data: Uint8Array.from(data, (value) => table[value]!), width, height }
}

/** Away from one grey level or towards it. */
function blendWithLevel(image: RgbImage, level: number, factor: number): RgbImage {
  const f = Math.fround(factor)
  return mapBytes(
    image,
    Uint8Array.from({ length: 256 }, (_, x) => blend(level, x, f)),
  )
}

function mapPixels(
  { data, width, height }: RgbImage,
  each: (r: number, g: number, b: number, out: Uint8Array, at: number) => void,
): RgbImage {
  const out = new Uint8Array(data.length)
  for (let at = 0; at < data.length; at += PIXEL) each(data[at]!, data[at + 1]!, data[at + 2]!, out, at)
  return { data: out, width, height }
}

export function adjustBrightness(image: RgbImage, factor: number): RgbImage {
  return blendWithLevel(image, 0, factor)
}

export function adjustContrast(image: RgbImage, factor: number): RgbImage {
  const { data } = image
  let sum = 0
  for (let at = 0; at < data.length; at += PIXEL) sum += grey(data[at]!, data[at + 1]!, data[at + 2]!)
  return blendWithLevel(image, Math.trunc(sum / (data.length / PIXEL) + 0.5), factor)
}

export function adjustSaturation(image: RgbImage, factor: number): RgbImage {
  const f = Math.fround(factor)
  return mapPixels(image, (r, g, b, out, at) => {
    const level = grey(r, g, b)
    out[at] = blend(level, r, f)
    out[at + 1] = blend(level, g, f)
    out[at + 2] = blend(level, b, f)
  })
}

export function toGrey(image: RgbImage): RgbImage {
  return mapPixels(image, (r, g, b, out, at) => out.fill(grey(r, g, b), at, at + PIXEL))
}

/** Bytes below the threshold stay, the others are turned over. */
export function solarize(image: RgbImage, threshold: number): RgbImage {
  return mapBytes(
    image,
    Uint8Array.from({ length: 256 }, (_, x) => (x < threshold ? x : 255 - x)),
  )
}

/** Turns the hue by `factor` (−0.5…0.5) of the circle. */
export function adjustHue(image: RgbImage, factor: number): RgbImage {
  const turn = Math.trunc(255 * factor)
  return mapPixels(image, (r, g, b, out, at) => {
    const value = Math.max(r, g, b)
    const range = value - Math.min(r, g, b)
    if (range === 0) {
      out.fill(value, at, at + PIXEL)
      return
    }
    const saturation = Math.trunc(255 * Math.fround(range / value))
    fromHsv((hueOf(r, g, b, value, range) + turn + 256) & 255, saturation, value, out, at)
  })
}

function hueOf(r: number, g: number, b: number, value: number, range: number): number {
  const [rc, gc, bc] = [r, g, b].map((x) => Math.fround((value - x) / range)) as [number, number, number]
  const sector = r === value ? bc - gc : g === value ? 2 + rc - bc : 4 + gc - rc
  return Math.trunc(255 * Math.fround((Math.fround(sector) / 6 + 1) % 1))
}

/** Which of [v, p, q, t] red, green and blue are, by sector. */
const SECTORS = [
  [0, 3, 1],
  [2, 0, 1],
  [1, 0, 3],
  [1, 2, 0],
  [3, 1, 0],
  [0, 1, 2],
] as const

function fromHsv(hue: number, saturation: number, v: number, out: Uint8Array, at: number): void {
  if (saturation === 0) {
    out.fill(v, at, at + PIXEL)
    return
  }
  const place = (hue * 6) / 255
  const sector = Math.floor(place)
  const f = Math.fround(place - sector)
  const s = Math.fround(saturation / 255)
  const level = (x: number): number => Math.floor(v * x + 0.5)
  const levels = [v, level(1 - s), level(1 - Math.fround(s * f)), level(1 - s * (1 - f))]
  SECTORS[sector % 6]!.forEach((which, i) => {
    out[at + i] = levels[which]!
  })
}

const BLUR_RADIUS = 4

/** A Gaussian of 9 × 9 places, the image reflected at its borders (its sides must be longer than 4). */
export function gaussianBlur({ data, width, height }: RgbImage, sigma: number): RgbImage {
  const weights = Float64Array.from({ length: 2 * BLUR_RADIUS + 1 }, (_, i) =>
    Math.exp(-((i - BLUR_RADIUS) ** 2) / (2 * sigma ** 2)),
  )
  const sum = weights.reduce((a, b) => a + b)
  const kernel = weights.map((weight) => weight / sum)
  const inside = (at: number, size: number): number => (at < 0 ? -at : at >= size ? 2 * (size - 1) - at : at)
  const pass = (from: ArrayLike<number>, dx: number, dy: number): Float64Array => {
    const out = new Float64Array(from.length)
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++)
        for (let c = 0; c < PIXEL; c++) {
          let value = 0
          for (let k = -BLUR_RADIUS; k <= BLUR_RADIUS; k++) {
            const row = inside(y + k * dy, height)
            const column = inside(x + k * dx, width)
            value += kernel[k + BLUR_RADIUS]! * from[(row * width + column) * PIXEL + c]!
          }
          out[(y * width + x) * PIXEL + c] = value
        }
    return out
  }
  const blurred = pass(pass(data, 1, 0), 0, 1)
  return { data: Uint8Array.from(blurred, (value) => roundHalfEven(value)), width, height }
}
