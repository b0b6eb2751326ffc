/** torchvision's RandomResizedCrop (bicubic, area 8 to 100 %, ratio 3/4 to 4/3) and RandomHorizontalFlip, seeded. */

import type { Random } from '../math/random.js'
import type { RgbImage } from '../types.js'
import { cropImage } from './crop.js'
import { flipHorizontal } from './flip.js'
import { resizePillow } from './resize.js'
import { roundHalfEven } from './round.js'

const ATTEMPTS = 10
const AREA = [0.08, 1] as const
const RATIO = [3 / 4, 4 / 3] as const

/** Where the draws of a window come from; bounds are included. */
export interface WindowDraws {
  uniform(low: number, high: number): number
  integer(low: number, high: number): number
}

export interface Window {
  left: number
  top: number
  width: number
  height: number
  /** No draw fitted: the largest centred window with an allowed ratio. */
  fallback: boolean
}

/** A window as RandomResizedCrop.get_params draws it; `area` is the range of its share. */
export function randomWindow(
  width: number,
  height: number,
  draws: WindowDraws,
  area: readonly [number, number] = AREA,
): Window {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const wanted = width * height * draws.uniform(...area)
    const ratio = Math.exp(draws.uniform(Math.log(RATIO[0]), Math.log(RATIO[1])))
    const w = roundHalfEven(Math.sqrt(wanted * ratio))
    const h = roundHalfEven(Math.sqrt(wanted / ratio))
    if (w > 0 && w <= width && h > 0 && h <= height) {
      const top = draws.integer(0, height - h)
      return { left: draws.integer(0, width - w), top, width: w, height: h, fallback: false }
    }
  }
  let [w, h] = [width, height]
  if (width / height < RATIO[0]) h = roundHalfEven(width / RATIO[0])
  else if (width / height > RATIO[1]) w = roundHalfEven(height * RATIO[1])
  return { left: (width - w) >> 1, top: (height - h) >> 1, width: w, height: h, fallback: true }
}

/** uint8 [H, W, 3] → uint8 [size, size, 3]. */
export function augment(image: RgbImage, size: number, random: Random): RgbImage {
  const draws: WindowDraws = {
    uniform: (low, high) => low + (high - low) * random.next(),
    integer: (low, high) => low + random.below(high - low + 1),
  }
  const { left, top, width, height } = randomWindow(image.width, image.height, draws)
  const resized = resizePillow(cropImage(image, left, top, width, height), size, size, 'bicubic')
  return random.next() < 0.5 ? flipHorizontal(resized) : resized
}
