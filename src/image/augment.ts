/** torchvision's RandomResizedCrop (bicubic, area 8 to 100 %, ratio 3/4 to 4/3) and RandomHorizontalFlip, seeded. */

import type { Random } from '../math/random.js'
import type { RgbImage } from '../types.js'
import { flipHorizontal } from './flip.js'
import { resizePillow } from './resize.js'
import { roundHalfEven } from './round.js'
import { cropImage } from './transform.js'

const ATTEMPTS = 10
const AREA = [0.08, 1] as const
const RATIO = [3 / 4, 4 / 3] as const

/** A window [left, top, width, height] as RandomResizedCrop.get_params draws it. */
export function randomWindow(width: number, height: number, random: Random): [number, number, number, number] {
  const between = (low: number, high: number): number => low + (high - low) * random.next()
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const area = width * height * between(...AREA)
    const ratio = Math.exp(between(Math.log(RATIO[0]), Math.log(RATIO[1])))
    const w = roundHalfEven(Math.sqrt(area * ratio))
    const h = roundHalfEven(Math.sqrt(area / ratio))
    if (w > 0 && w <= width && h > 0 && h <= height) {
      const top = random.below(height - h + 1)
      return [random.below(width - w + 1), top, w, h]
    }
  }
  let [w, h] = [width, height]
  if (width / height < RATIO[0]) h = roundHalfEven(width / RATIO[0])
  else if (width / height > RATIO[1]) w = roundHalfEven(height * RATIO[1])
  return [(width - w) >> 1, (height - h) >> 1, w, h]
}

/** uint8 [H, W, 3] → uint8 [size, size, 3]. */
export function augment(image: RgbImage, size: number, random: Random): RgbImage {
  const [left, top, width, height] = randomWindow(image.width, image.height, random)
  const resized = resizePillow(cropImage(image, left, top, width, height), size, size, 'bicubic')
  return random.next() < 0.5 ? flipHorizontal(resized) : resized
}
