/** The steps of a transform (transform.ts), and the sizes that they lead to. */
import type { ImageSides } from './crop.js'
import type { FloatFilter } from './float-image.js'
import type { Filter } from './resample-weights.js'

export type Step =
  | { kind: 'resize'; height: number; width: number; filter: Filter }
  | { kind: 'resize-short'; size: number; filter: Filter }
  | { kind: 'center-crop'; height: number; width: number }
  | { kind: 'adm-crop'; size: number }
  | { kind: 'hflip' }
  | { kind: 'float-resize'; size: number; filter: FloatFilter }

/** Sides when the shorter one becomes `size`, as torchvision's Resize computes them. */
export function shortSize({ width, height }: ImageSides, size: number): ImageSides {
  const long = Math.trunc((size * Math.max(width, height)) / Math.min(width, height))
  return width <= height ? { width: size, height: long } : { width: long, height: size }
}
