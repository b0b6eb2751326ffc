/**
 * What can be wanted of an image that is decoded once: views, each a picture of its own. A new kind of picture
 * (a crop of a training, floats of a metric) is one line here, and every user of the pool has it.
 */
import { type DrawPlace, drawsAt } from '../../math/draws.js'
import { createRandom } from '../../math/random.js'
import { RejectError, type RgbImage } from '../../types.js'
import { augment } from '../augment.js'
import { type WantPart, wantedPart } from '../cropped-resize.js'
import { drawView, type ViewLaw } from '../draw-view.js'
import { flipHorizontal } from '../flip.js'
import { resizeForCleanFid } from '../resize-float.js'
import { applyFloatTransform, applyTransform, parseTransform, type Transform } from '../transform.js'
import { applyView, type ViewStep } from '../view-steps.js'

export type View =
  /** By a canonical transform spec; `mirrored`: left to right. */
  | { kind: 'transform'; spec: string; mirrored?: boolean }
  /** A random resized crop and flip of training, drawn from a seed. */
  | { kind: 'augmented'; size: number; seed: number }
  /** By operations whose parameters were drawn beforehand. */
  | { kind: 'steps'; steps: readonly ViewStep[] }
  /** As drawn for a place of a training: a function of image, law and place. */
  | { kind: 'drawn'; law: ViewLaw; place: DrawPlace }
  /** As it is, at its own size. */
  | { kind: 'original' }
  /** As clean-fid resizes for its network: float32 [3, side, side] of 0…255. */
  | { kind: 'clean-fid'; side: number }

/** uint8 [height, width, 3], or the floats of a view that says so. */
export interface Picture {
  data: Uint8Array | Float32Array
  width: number
  height: number
}

export const ORIGINAL: View = { kind: 'original' }

const parsed = new Map<string, Transform>()

function transformOf(spec: string): Transform {
  let found = parsed.get(spec)
  if (!found) {
    if (parsed.size >= 64) parsed.clear()
    found = parseTransform(spec)
    parsed.set(spec, found)
  }
  return found
}

/** What of an image all views together look at; undefined where that is the whole. */
export function partOfViews(views: readonly View[]): WantPart | undefined {
  const [first] = views
  if (first?.kind !== 'transform') return undefined
  if (!views.every((view) => view.kind === 'transform' && view.spec === first.spec)) return undefined
  const { steps } = transformOf(first.spec)
  return (whole) => wantedPart(steps, whole)
}

/** The pictures of an image, or of the part of it that they look at, in the order of the views. Throws RejectError (stage `transform`) where one cannot be made. */
export function makePictures(image: RgbImage, views: readonly View[]): Picture[] {
  // A picture and its mirror image are resampled once.
  const made = new Map<string, RgbImage>()
  const transformed = (spec: string): RgbImage => {
    const found = made.get(spec) ?? applyTransform(image, transformOf(spec))
    made.set(spec, found)
    return found
  }
  const make = (view: View): Picture => {
    switch (view.kind) {
      case 'transform':
        if (transformOf(view.spec).isFloat) return applyFloatTransform(image, transformOf(view.spec))
        return view.mirrored ? flipHorizontal(transformed(view.spec)) : transformed(view.spec)
      case 'augmented':
        return augment(image, view.size, createRandom(view.seed))
      case 'steps':
        return applyView(image, view.steps)
      case 'drawn':
        return applyView(image, drawView(image, view.law, drawsAt(view.place)))
      case 'original':
        return image
      case 'clean-fid':
        return { data: resizeForCleanFid(image, view.side), width: view.side, height: view.side }
    }
  }
  try {
    return views.map(make)
  } catch (error) {
    if (error instanceof RejectError) throw error
    throw new RejectError('corrupt', 'transform', error instanceof Error ? error.message : String(error))
  }
}
