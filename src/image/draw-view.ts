/**
 * What is drawn for a view of training (DINOv2's DataAugmentationDINO, as its code does it: the first global crop is
 * never blurred, the second in 90 %, local ones in 50 %; the paper means 100, 10 and 50 %).
 */
import type { Draws } from '../math/draws.js'
import { randomWindow } from './augment.js'
import type { Filter } from './resample-weights.js'
import type { ViewStep } from './view-steps.js'

/** A box [top, left, height, width] as RandomResizedCrop draws it. */
export function drawBox(
  image: { width: number; height: number },
  area: readonly [number, number],
  draws: Draws,
): { box: [number, number, number, number]; fallback: boolean } {
  const { top, left, width, height, fallback } = randomWindow(image.width, image.height, draws, area)
  return { box: [top, left, height, width], fallback }
}

/** How a kind of view is drawn: the crop's share of the area, and how often each operation is done. */
export interface ViewLaw {
  /** Side of the view in pixels. */
  size: number
  area: readonly [number, number]
  /** One of them resamples the crop. Default: bicubic. */
  filters?: readonly Filter[]
  flip: number
  jitter: number
  grey: number
  blur: number
  solarize: number
}

const COLOURS = { flip: 0.5, jitter: 0.8, grey: 0.2 }

/** The three kinds of self-supervision as published. */
export const VIEW_KINDS = {
  global1: { size: 224, area: [0.32, 1], ...COLOURS, blur: 0, solarize: 0 },
  global2: { size: 224, area: [0.32, 1], ...COLOURS, blur: 0.9, solarize: 0.2 },
  local: { size: 96, area: [0.05, 0.32], ...COLOURS, blur: 0.5, solarize: 0 },
} as const satisfies Record<string, ViewLaw>

/** Brightness, contrast, saturation, hue: how far from 1, or from 0. */
const STRENGTH = [0.4, 0.4, 0.2, 0.1] as const
const OPERATIONS = ['adjust_brightness', 'adjust_contrast', 'adjust_saturation', 'adjust_hue'] as const
const SIGMA = [0.1, 2] as const
const THRESHOLD = 128

/** Crop, flip, jitter in a drawn order, grey, blur, solarise. The filter is drawn last, and only where there is a choice. */
export function drawView(
  image: { width: number; height: number },
  { size, area, filters = ['bicubic'], flip, jitter, grey, blur, solarize }: ViewLaw,
  draws: Draws,
): ViewStep[] {
  const chance = (share: number): boolean => draws.uniform(0, 1) < share
  const { box } = drawBox(image, area, draws)
  const steps: ViewStep[] = []
  if (chance(flip)) steps.push({ op: 'hflip' })
  if (chance(jitter)) {
    const factors = STRENGTH.map((strength, i) => {
      const middle = i === 3 ? 0 : 1
      return draws.uniform(middle - strength, middle + strength)
    })
    for (const i of draws.shuffle(OPERATIONS.length)) steps.push({ op: OPERATIONS[i]!, factor: factors[i]! })
  }
  if (chance(grey)) steps.push({ op: 'rgb_to_grayscale' })
  if (chance(blur)) steps.push({ op: 'gaussian_blur', sigma: draws.uniform(...SIGMA) })
  if (chance(solarize)) steps.push({ op: 'solarize', threshold: THRESHOLD })
  const filter = filters.length > 1 ? filters[draws.integer(0, filters.length - 1)]! : filters[0]!
  return [{ op: 'resized_crop', box, size: [size, size], filter }, ...steps]
}
