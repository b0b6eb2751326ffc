/** How large an image may become on the way to its crop. */
import { RejectError } from '../types.js'
import type { ImageSides } from './crop.js'

/** Largest image that a step may make on the way: a long thin image grows with its longer side. */
export const MAX_INTERMEDIATE_PIXELS = 64_000_000

/** Between the passes an image has its new width and its old height: a very tall one grows there. */
const MAX_PIXELS_BETWEEN = 100_000_000

export function tooLarge(image: ImageSides, width: number, height: number): RejectError {
  const message = `${image.width}×${image.height} pixels would become ${width}×${height} on the way to its crop`
  return new RejectError('too_many_pixels', 'transform', message)
}

/** Throws RejectError `too_many_pixels` where an image would become too large on its way to that size. */
export function checkBetween(image: ImageSides, width: number): void {
  if (width * image.height <= Math.max(MAX_PIXELS_BETWEEN, image.width * image.height)) return
  const message = `${image.width}×${image.height} pixels would become ${width}×${image.height} while they are resized`
  throw new RejectError('too_many_pixels', 'transform', message)
}

/** The same, also for that size itself. */
export function checkWithin(image: ImageSides, width: number, height: number): void {
  if (width * height > MAX_INTERMEDIATE_PIXELS) throw tooLarge(image, width, height)
  checkBetween(image, width)
}
