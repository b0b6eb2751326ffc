/** The weights of LPIPS, for a graph that has them as inputs `v.NAME`. */
import { resolvePerceptual } from '../metrics/networks/open.js'
import { LPIPS_TENSORS, VGG_TENSORS } from '../model/lpips/graph.js'
import { openPerceptual } from '../model/networks.js'
import type { PretrainRecipe } from './recipe.js'

export interface PerceptualOptions {
  /** Folder with the weights of VGG16 and LPIPS. */
  weights?: string
  cacheDir: string
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
