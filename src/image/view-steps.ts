/** Views as lists of operations with their parameters, drawn beforehand: a view is a function of image and list. */
import type { RgbImage } from '../types.js'
import {
  adjustBrightness,
  adjustContrast,
  adjustHue,
  adjustSaturation,
  gaussianBlur,
  solarize,
  toGrey,
} from './color.js'
import { cropImage } from './crop.js'
import { flipHorizontal } from './flip.js'
import type { Filter } from './resample-weights.js'
import { resizePillow } from './resize.js'

/** Parameters as torchvision's functional operations take them; a box is [top, left, height, width]. */
export type ViewStep =
  | {
      op: 'resized_crop'
      box: readonly [number, number, number, number]
      size: readonly [number, number]
      /** Default: bicubic. */
      filter?: Filter
    }
  | { op: 'hflip' | 'rgb_to_grayscale' }
  | { op: 'adjust_brightness' | 'adjust_contrast' | 'adjust_saturation' | 'adjust_hue'; factor: number }
  | { op: 'gaussian_blur'; sigma: number }
  | { op: 'solarize'; threshold: number }

const ADJUST = {
  adjust_brightness: adjustBrightness,
  adjust_contrast: adjustContrast,
  adjust_saturation: adjustSaturation,
  adjust_hue: adjustHue,
} as const

function applyStep(image: RgbImage, step: ViewStep): RgbImage {
  switch (step.op) {
    case 'resized_crop': {
      const [top, left, height, width] = step.box
      return resizePillow(
        cropImage(image, left, top, width, height),
        step.size[1],
        step.size[0],
        step.filter ?? 'bicubic',
      )
    }
    case 'hflip':
      return flipHorizontal(image)
    case 'rgb_to_grayscale':
      return toGrey(image)
    case 'gaussian_blur':
      return gaussianBlur(image, step.sigma)
    case 'solarize':
      return solarize(image, step.threshold)
    default:
      return ADJUST[step.op](image, step.factor)
  }
}

export function applyView(image: RgbImage, steps: readonly ViewStep[]): RgbImage {
  return steps.reduce(applyStep, image)
}
