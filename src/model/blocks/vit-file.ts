/**
 * What DINOv2's hub files and MAE's have in common: a vision transformer in timm's names without a configuration, whose
 * sizes are those of its tensors, and the evaluation's preprocessing.
 */
import { VtpError } from '../../errors.js'
import type { StoredTensor } from '../../io/weights.js'
import { badConfig } from '../clip/config.js'
import type { ImageSize } from '../image-model.js'
import { countBlocks } from './torch-claim.js'

export interface VitSizes {
  dim: number
  patch: number
  /** Patches per side of the trained grid. */
  side: number
  depth: number
  /** The shape of a tensor. Throws VtpError `bad_checkpoint` for one that is not there. */
  shapeOf: (name: string) => readonly number[]
}

/** Reads the sizes. Throws VtpErrors `bad_checkpoint`, `bad_config`. */
export function inferVitSizes(tensors: ReadonlyMap<string, StoredTensor>, family: string, file: string): VitSizes {
  const shapeOf = (name: string): readonly number[] => {
    const tensor = tensors.get(name)
    if (tensor) return tensor.shape
    throw new VtpError(`${file} has no tensor "${name}", which ${family} has`, {
      code: 'bad_checkpoint',
      exitCode: 2,
      suggestions: ['download the file again, or check that it is of this model'],
    })
  }
  const [dim = 0, , patch = 0] = shapeOf('patch_embed.proj.weight')
  const places = (shapeOf('pos_embed')[1] ?? 0) - 1
  const side = Math.round(Math.sqrt(Math.max(places, 0)))
  if (dim < 1 || patch < 1 || side < 1 || side * side !== places)
    throw badConfig(file, `pos_embed [${shapeOf('pos_embed')}] is not a class token and a square grid`)
  return { dim, patch, side, depth: countBlocks(tensors.keys(), 'blocks'), shapeOf }
}

/** Resize to 256 of 224 and crop the middle, for any square size; other sizes are resized as they are. */
export function evaluationTransform({ height, width }: ImageSize): string {
  return height === width
    ? `resize(${Math.round((height * 256) / 224)},bicubic)|center-crop(${height})`
    : `resize(${height},${width},bicubic)`
}
