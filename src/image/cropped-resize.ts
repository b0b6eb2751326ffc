/**
 * Transforms that begin with a crop out of a smaller image: adm-crop, and resize(S) with center-crop. Only what the
 * crop shows is resampled, and what that looks at is a part of the image: a decoder need not make the rest. Every
 * pixel is computed as it is without the crop.
 */
import type { RgbImage } from '../types.js'
import { cropImage, type ImageSides, type Rectangle, rowsOf } from './crop.js'
import { type Coefficients, coefficients, type Filter } from './resample-weights.js'
import { resizeBy, resizePillow } from './resize.js'
import { checkWithin } from './resize-limits.js'
import { roundHalfEven } from './round.js'
import { type Step, shortSize } from './transform-steps.js'

/** What the first steps of a transform do to an image of a certain size. */
export interface CroppedResize {
  /** How many steps these are. */
  steps: number
  /** How often both sides are halved first, by the box filter. */
  halvings: number
  /** Whether all these sides are even: a halving then is a mean of two. */
  isEven: boolean
  /** After the halvings. */
  from: ImageSides
  /** What the whole image would become. */
  to: ImageSides
  filter: Filter
  /** What is kept of that. */
  crop: Rectangle
}

/** A part of an image, halved: all that a `CroppedResize` looks at. */
export interface ImagePart extends RgbImage {
  /** The whole image, as the file has it. */
  of: ImageSides
  /** Where the part lies in the halved image. */
  left: number
  top: number
}

export function isPart(image: RgbImage): image is ImagePart {
  return 'of' in image
}

/** What a decoder may make instead of a whole image: a rectangle of the halved image. */
export interface WantedPart extends Rectangle {
  /** How often the image is halved, by means of two, across first. */
  halvings: number
}

/** Of the whole image's sides; undefined where the whole is needed. */
export type WantPart = (whole: ImageSides) => WantedPart | undefined

/** What the steps look at. */
export function wantedPart(steps: readonly Step[], whole: ImageSides): WantedPart | undefined {
  const plan = croppedResize(steps, whole)
  if (!plan?.isEven) return undefined
  return { ...neededPart(plan), halvings: plan.halvings }
}

/** Undefined where a transform begins otherwise. */
export function croppedResize([first, second]: readonly Step[], image: ImageSides): CroppedResize | undefined {
  if (first?.kind === 'adm-crop') return admCrop(image, first.size)
  if (first?.kind !== 'resize-short' || second?.kind !== 'center-crop') return undefined
  const to = shortSize(image, first.size)
  const { width, height } = second
  if (to.width < width || to.height < height) return undefined
  const [left, top] = [roundHalfEven((to.width - width) / 2), roundHalfEven((to.height - height) / 2)]
  const { filter } = first
  const crop = { left, top, width, height }
  return { steps: 2, halvings: 0, isEven: true, from: image, to, filter, crop }
}

/** center_crop_arr of the reference (vtp/utils/image_utils.py, after ADM). */
function admCrop({ width, height }: ImageSides, size: number): CroppedResize {
  let [w, h] = [width, height]
  let halvings = 0
  let isEven = true
  for (; Math.min(w, h) >= 2 * size; halvings++) {
    if (w % 2 === 1 || h % 2 === 1) isEven = false
    w >>= 1
    h >>= 1
  }
  const scale = size / Math.min(w, h)
  const to = { width: roundHalfEven(w * scale), height: roundHalfEven(h * scale) }
  const crop = { left: (to.width - size) >> 1, top: (to.height - size) >> 1, width: size, height: size }
  return { steps: 1, halvings, isEven, from: { width: w, height: h }, to, filter: 'bicubic', crop }
}

/** The part of the halved image that the crop looks at. */
export function neededPart({ from, to, filter, crop }: CroppedResize): Rectangle {
  const [left, right] = reach(from.width, to.width, filter, crop.left, crop.width)
  const [top, bottom] = reach(from.height, to.height, filter, crop.top, crop.height)
  return { left, top, width: right - left, height: bottom - top }
}

/** First and end of the inputs of `count` outputs from `start` on. */
function reach(inSize: number, outSize: number, filter: Filter, start: number, count: number): [number, number] {
  if (inSize === outSize) return [start, start + count]
  const { starts, lengths } = coefficients(inSize, outSize, filter)
  const last = start + count - 1
  return [starts[start]!, starts[last]! + lengths[last]!]
}

/** Resizes and crops an image, or a part that holds what is needed. Throws RejectError `too_many_pixels`. */
export function resizeCropped(image: RgbImage, plan: CroppedResize): RgbImage {
  const { from, to, filter, crop } = plan
  checkWithin(from, to.width, to.height)
  const { left, top, width, height } = neededPart(plan)
  const halved = isPart(image) ? image : { ...halve(image, plan.halvings), left: 0, top: 0 }
  // Windows crop along an axis that is resized.
  const isSameWidth = from.width === to.width
  const part = isSameWidth
    ? cropImage(halved, left - halved.left, top - halved.top, width, height)
    : rowsOf(halved, top - halved.top, height)
  const axes = {
    ...(!isSameWidth && {
      horizontal: windowsOf(coefficients(from.width, to.width, filter), crop.left, crop.width, halved.left),
    }),
    ...(from.height !== to.height && {
      vertical: windowsOf(coefficients(from.height, to.height, filter), crop.top, crop.height, top),
    }),
  }
  const { data } = resizeBy(part, crop.width, crop.height, axes)
  return { data, width: crop.width, height: crop.height }
}

function halve(image: RgbImage, times: number): RgbImage {
  let current = image
  for (let i = 0; i < times; i++) current = resizePillow(current, current.width >> 1, current.height >> 1, 'box')
  return current
}

/** Windows of `count` outputs from `start` on, in an input that begins at `first`. */
function windowsOf({ size, starts, lengths, weights }: Coefficients, start: number, count: number, first: number) {
  const end = start + count
  return {
    size,
    starts: starts.subarray(start, end).map((at) => at - first),
    lengths: lengths.subarray(start, end),
    weights: weights.subarray(start * size, end * size),
  }
}
