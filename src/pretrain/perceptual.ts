/** The weights of LPIPS, for a graph that has them as inputs `v.NAME`. Nothing is downloaded. */
import { usageError } from '../errors.js'
import { findWeights, type WeightsFile } from '../metrics/networks/weights.js'
import { LPIPS_TENSORS, VGG_TENSORS } from '../model/lpips/graph.js'
import { openPerceptual } from '../model/networks.js'
import type { PretrainRecipe } from './recipe.js'

export interface PerceptualOptions {
  /** Folder with the weights of VGG16 and LPIPS. */
  weights?: string
  cacheDir: string
}

type Found = Record<'vgg16' | 'lpips', WeightsFile>

/** In the folder, or kept on this machine by an evaluation or by torch. Throws VtpError `weights_missing` for a folder that cannot be read. */
async function findLpips({ weights, cacheDir }: PerceptualOptions): Promise<Found | undefined> {
  const options = { dir: weights, cacheDir }
  const vgg16 = await findWeights('vgg16', options)
  const lpips = vgg16 && (await findWeights('lpips', options))
  return vgg16 && lpips && { vgg16, lpips }
}

/**
 * The files of LPIPS' weights; undefined where there are none: a note says what takes their place. Throws VtpError
 * `weights_missing` for a folder that cannot be read.
 */
export async function lookForLpips(
  options: PerceptualOptions & { onNote?: (line: string) => void },
): Promise<WeightsFile[] | undefined> {
  const found = await findLpips(options)
  if (found) return [found.vgg16, found.lpips]
  const { weights, onNote } = options
  const place = weights === undefined ? '(--weights DIR)' : `in --weights ${weights}`
  onNote?.(`There are no weights of LPIPS ${place}: L1 on a Laplacian pyramid takes the place of L1 + LPIPS.`)
  return undefined
}

/** By name; undefined where the recipe gives LPIPS no weight. */
export async function readPerceptual(
  { hyper_parameters: given }: PretrainRecipe,
  options: PerceptualOptions,
): Promise<ReadonlyMap<string, Float32Array> | undefined> {
  return given.w_rec === 0 || given.w_lpips === 0 ? undefined : readLpips(options)
}

/** By name. Throws usage error `weights_missing`. */
export async function readLpips(options: PerceptualOptions): Promise<ReadonlyMap<string, Float32Array>> {
  const found = await findLpips(options)
  if (!found)
    throw usageError('weights_missing', 'The recipe gives LPIPS a weight, but its weights are not there', [
      'give a folder with those of VGG16 and LPIPS (vgg16-397923af.pth, vgg.pth): --weights DIR',
      'or train without: --set hyper_parameters.w_lpips=0',
    ])
  const opened = await openPerceptual(found)
  try {
    const values = new Map<string, Float32Array>()
    for (const name of VGG_TENSORS) values.set(name, await opened.read(name))
    for (const name of LPIPS_TENSORS) values.set(name.replace('.model.1.weight', ''), await opened.read(name))
    return values
  } finally {
    await opened.close()
  }
}
