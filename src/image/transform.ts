/**
 * Preprocessing as a readable spec, stored and hashed with every run: steps joined by "|".
 *
 *   resize(H,W[,FILTER])   torchvision Resize((H, W)) on a PIL image; FILTER defaults to bilinear
 *   resize(S[,FILTER])     torchvision Resize(S): the shorter side becomes S
 *   center-crop(S | H,W)   torchvision CenterCrop, zero padding when the image is smaller
 *   adm-crop(S)            center_crop_arr of ADM: box halvings, bicubic, centre crop
 *   hflip                  mirrored
 *   float-resize(S[,FILTER]) torchvision Resize(S) of a float tensor with antialiasing: nothing is rounded to 8 bits
 *                          (first step; crops may follow; for evaluations of reconstructions)
 *
 * The output size follows from the spec alone.
 */
import { usageError } from '../errors.js'
import type { RgbImage } from '../types.js'
import { cropImage } from './crop.js'
import { croppedResize, isPart, resizeCropped } from './cropped-resize.js'
import { flipHorizontal } from './flip.js'
import { cropFloat, FLOAT_FILTERS, type FloatFilter, type FloatImage, resizeFloat } from './float-image.js'
import { FILTERS, type Filter } from './resample-weights.js'
import { resizePillow } from './resize.js'
import { checkBetween, checkWithin, MAX_INTERMEDIATE_PIXELS, tooLarge } from './resize-limits.js'
import { roundHalfEven } from './round.js'
import { type Step, shortSize } from './transform-steps.js'

export type { Step } from './transform-steps.js'

export interface Transform {
  /** Canonical text: equal transforms have equal text. */
  readonly spec: string
  readonly steps: readonly Step[]
  /** Size of the output in pixels. */
  readonly height: number
  readonly width: number
  /** Its pixels are float32 in 0…1, not rounded to 8 bits. */
  readonly isFloat: boolean
}

const MAX_SIDE = 8192
const SYNTAX =
  'steps are resize(H,W,FILTER), resize(S,FILTER), center-crop(S), adm-crop(S), hflip, float-resize(S,FILTER), joined by "|"'
const EXAMPLE = 'examples: "resize(256,256,bilinear)", "adm-crop(256)", "resize(256,bicubic)|center-crop(224)"'

function bad(spec: string, what: string, suggestion = SYNTAX): Error {
  return usageError('bad_transform', `The transform "${spec}" is not understood: ${what}`, [suggestion, EXAMPLE])
}

/** Parses a spec whose pixels are 8 bits. Throws usage errors `bad_transform` and `float_transform`. */
export function parsePixelTransform(spec: string): Transform {
  const transform = parseTransform(spec)
  if (!transform.isFloat) return transform
  throw usageError('float_transform', `${transform.spec} gives pixels that are not rounded to 8 bits`, [
    'it is for `vtp eval-recon`; use resize instead of float-resize here',
  ])
}

/** Parses a spec. Throws a usage error `bad_transform` that says what is possible. */
export function parseTransform(spec: string): Transform {
  const steps = spec.split('|').map((part) => parseStep(spec, part.trim()))
  let size: { height: number; width: number } | undefined
  for (const step of steps) {
    if (step.kind === 'resize' || step.kind === 'center-crop') size = { height: step.height, width: step.width }
    else if (step.kind === 'adm-crop') size = { height: step.size, width: step.size }
    else if (step.kind === 'resize-short' || step.kind === 'float-resize') size = undefined
  }
  if (!size) {
    throw bad(
      spec,
      'the size of its output depends on the image',
      'end it with center-crop(S), or give resize two numbers',
    )
  }
  const isFloat = steps.some(({ kind }) => kind === 'float-resize')
  if (isFloat && steps.some(({ kind }, i) => (kind === 'float-resize') !== (i === 0) || !/float|center/.test(kind)))
    throw bad(spec, 'float-resize comes first, and only center-crop can follow it')
  return { spec: steps.map(stepText).join('|'), steps, ...size, isFloat }
}

function parseStep(spec: string, text: string): Step {
  const match = /^([a-z-]+)\s*(?:\(([^()]*)\))?$/i.exec(text)
  if (!match) throw bad(spec, `"${text}" is not a step`)
  const name = match[1]!.toLowerCase()
  const args = (match[2] ?? '')
    .split(',')
    .map((arg) => arg.trim().toLowerCase())
    .filter(Boolean)
  const numbers = args.filter((arg) => /^\d+$/.test(arg)).map(Number)
  const words = args.filter((arg) => !/^\d+$/.test(arg))
  const tooLarge = numbers.find((n) => n < 1 || n > MAX_SIDE)
  if (tooLarge !== undefined) throw bad(spec, `the size ${tooLarge} is not between 1 and ${MAX_SIDE}`)
  const expect = (count: number[], wordCount: number): void => {
    if (count.includes(numbers.length) && words.length <= wordCount) return
    throw bad(
      spec,
      `${name} takes ${count.join(' or ')} number${count.at(-1) === 1 ? '' : 's'}${wordCount ? ' and a filter' : ''}`,
    )
  }
  const [first = 0, second = first] = numbers
  switch (name) {
    case 'resize': {
      expect([1, 2], 1)
      const filter = (words[0] ?? 'bilinear') as Filter
      if (!FILTERS.includes(filter))
        throw bad(spec, `the filter "${filter}" is unknown`, `filters are ${FILTERS.join(', ')}`)
      return numbers.length === 2
        ? { kind: 'resize', height: first, width: second, filter }
        : { kind: 'resize-short', size: first, filter }
    }
    case 'center-crop':
      expect([1, 2], 0)
      return { kind: 'center-crop', height: first, width: second }
    case 'adm-crop':
      expect([1], 0)
      return { kind: 'adm-crop', size: first }
    case 'float-resize': {
      expect([1], 1)
      const filter = (words[0] ?? 'bilinear') as FloatFilter
      if (!FLOAT_FILTERS.includes(filter))
        throw bad(spec, `float-resize has the filters ${FLOAT_FILTERS.join(', ')}, not "${filter}"`)
      return { kind: 'float-resize', size: first, filter }
    }
    case 'hflip':
      expect([0], 0)
      return { kind: 'hflip' }
    default:
      throw bad(spec, `there is no step "${name}"`)
  }
}

function stepText(step: Step): string {
  switch (step.kind) {
    case 'resize':
      return `resize(${step.height},${step.width},${step.filter})`
    case 'resize-short':
      return `resize(${step.size},${step.filter})`
    case 'center-crop':
      return step.height === step.width ? `center-crop(${step.height})` : `center-crop(${step.height},${step.width})`
    case 'adm-crop':
      return `adm-crop(${step.size})`
    case 'hflip':
      return 'hflip'
    case 'float-resize':
      return `float-resize(${step.size},${step.filter})`
  }
}

/** Applies a transform: uint8 [H, W, 3] → uint8 [height, width, 3]. The part that its first steps look at will do. */
export function applyTransform(image: RgbImage, { steps }: Transform): RgbImage {
  const cropped = croppedResize(steps, isPart(image) ? image.of : image)
  if (!cropped) return steps.reduce(applyStep, image)
  return steps.slice(cropped.steps).reduce(applyStep, resizeCropped(image, cropped))
}

function applyStep(image: RgbImage, step: Step): RgbImage {
  switch (step.kind) {
    case 'resize':
      checkBetween(image, step.width)
      return resizePillow(image, step.width, step.height, step.filter)
    case 'resize-short': {
      const { width, height } = shortSize(image, step.size)
      checkWithin(image, width, height)
      return resizePillow(image, width, height, step.filter)
    }
    case 'center-crop':
      return centerCrop(image, step.height, step.width)
    case 'adm-crop':
      return resizeCropped(image, croppedResize([step], image)!)
    case 'hflip':
      return flipHorizontal(image)
    case 'float-resize':
      throw new Error('floats go through applyFloatTransform')
  }
}

/** Applies a transform whose pixels are floats: uint8 [H, W, 3] → float32 [height, width, 3] in 0…1. */
export function applyFloatTransform(image: RgbImage, { steps }: Transform): FloatImage {
  let floats: FloatImage = { ...image, data: Float32Array.from(image.data, (value) => value / 255) }
  for (const step of steps) {
    if (step.kind === 'center-crop') floats = cropFloat(floats, step.height, step.width)
    else if (step.kind === 'float-resize') {
      const { width, height } = shortSize(image, step.size)
      if (width * Math.max(height, image.height) > MAX_INTERMEDIATE_PIXELS) throw tooLarge(image, width, height)
      floats = resizeFloat(floats, width, height, step.filter)
    }
  }
  return floats
}

function centerCrop(image: RgbImage, height: number, width: number): RgbImage {
  let padded = image
  if (image.width < width || image.height < height) {
    const left = Math.max(0, Math.floor((width - image.width) / 2))
    const top = Math.max(0, Math.floor((height - image.height) / 2))
    padded = { width: Math.max(width, image.width), height: Math.max(height, image.height), data: new Uint8Array() }
    padded.data = new Uint8Array(padded.width * padded.height * 3)
    for (let y = 0; y < image.height; y++) {
      const row = image.data.subarray(y * image.width * 3, (y + 1) * image.width * 3)
      padded.data.set(row, ((top + y) * padded.width + left) * 3)
    }
  }
  const top = roundHalfEven((padded.height - height) / 2)
  const left = roundHalfEven((padded.width - width) / 2)
  return cropImage(padded, left, top, width, height)
}
