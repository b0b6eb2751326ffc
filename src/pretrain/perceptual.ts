/** The weights of LPIPS, for a graph that has them as inputs `v.NAME`. */
import { VtpError } from '../errors.js'
import { resolvePerceptual } from '../metrics/networks/open.js'
import type { WeightsFile } from '../metrics/networks/weights.js'
import { LPIPS_TENSORS, VGG_TENSORS } from '../model/lpips/graph.js'
import { openPerceptual } from '../model/networks.js'
import type { PretrainRecipe } from './recipe.js'

export interface PerceptualOptions {
  /** Folder with the weights of VGG16 and LPIPS. */
  weights?: string
  cacheDir: string
}

/**
 * The files of LPIPS' weights; undefined where there are none and no folder was given for them: a note says what takes
 * their place. Throws VtpErrors `weights_missing`, `weights_corrupt`.
 */
export async function lookForLpips({
  weights,
  cacheDir,
  onNote,
}: PerceptualOptions & { onNote?: (line: string) => void }): Promise<WeightsFile[] | undefined> {
  try {
    const { vgg16, lpips } = await resolvePerceptual({ dir: weights, cacheDir })
    return [vgg16, lpips]
  } catch (error) {
    if (!(error instanceof VtpError) || error.code !== 'weights_missing' || weights !== undefined) throw error
    onNote?.('There are no weights of LPIPS (--weights DIR): L1 on a Laplacian pyramid takes the place of L1 + LPIPS.')
    return undefined
  }
}

/** By name; undefined where the recipe gives LPIPS no weight. */
export async function readPerceptual(
  { hyper_parameters: given }: PretrainRecipe,
  options: PerceptualOptions,
): Promise<ReadonlyMap<string, Float32Array> | undefined> {
  return given.w_rec === 0 || given.w_lpips === 0 ? undefined : readLpips(options)
}

/** By name. Throws VtpError `weights_missing`. */
export async function readLpips({ weights, cacheDir }: PerceptualOptions): Promise<ReadonlyMap<string, Float32Array>> {
  const opened = await openPerceptual(await resolvePerceptual({ dir: weights, cacheDir }))
  try {
    const values = new Map<string, Float32Array>()
    for (const name of VGG_TENSORS) values.set(name, await opened.read(name))
    for (const name of LPIPS_TENSORS) values.set(name.replace('.model.1.weight', ''), await opened.read(name))
    return values
  } finally {
    await opened.close()
  }
}
