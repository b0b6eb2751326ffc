/** Opening a checkpoint's weights for a model that is made of them. */
import type { Weights, WeightsOptions } from '../../io/weights.js'
import { openWeights } from '../../io/weights.js'

/** Opens `file` of a folder and hands it to `make`, whose result closes it; closes it here where `make` fails. */
export async function withWeights<T>(
  folder: string,
  file: string,
  options: WeightsOptions,
  make: (weights: Weights) => Promise<T>,
): Promise<T> {
  const weights = await openWeights(folder, file, options)
  try {
    return await make(weights)
  } catch (error) {
    await weights.close()
    throw error
  }
}
