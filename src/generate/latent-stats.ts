/** Per-channel mean and standard deviation of latents: `latents_stats.pt` of the reference or of `vtp encode`. */
import { createHash } from 'node:crypto'
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { usageError } from '../errors.js'
import { openTensorFile } from '../io/tensor-file.js'
import { LATENTS_STATS } from '../pipeline/ledger/layout.js'

export interface LatentStats {
  /** Where they come from, for people. */
  name: string
  mean: Float32Array // [C]
  std: Float32Array // [C]
  digest: string
}

/** Latents as they are: mean 0, deviation 1. */
export function noStats(channels: number): LatentStats {
  return latentStats('none', new Float32Array(channels), new Float32Array(channels).fill(1))
}

/**
 * Reads `mean` and `std` from a file, or from latents_stats.pt in a folder. Throws usage errors
 * `stats_missing`, `bad_stats`, `stats_channels`.
 */
export async function readLatentStats(ref: string, channels: number): Promise<LatentStats> {
  const info = await stat(ref).catch(() => undefined)
  const file = info?.isDirectory() ? path.join(ref, LATENTS_STATS) : ref
  if (!(await stat(file).catch(() => undefined))) {
    throw usageError('stats_missing', `There are no latent statistics at ${file}`, [
      'give --stats the latents_stats.pt of the latents that the model was trained on (`vtp stats` computes it)',
    ])
  }
  const tensors = await openTensorFile(file)
  try {
    for (const name of ['mean', 'std']) {
      const shape = tensors.shapes.get(name)
      if (!shape) {
        throw usageError(
          'bad_stats',
          `${file} has no tensor "${name}" (it has ${[...tensors.shapes.keys()].slice(0, 5).join(', ')})`,
          ['give the latents_stats.pt of a latents folder'],
        )
      }
      const count = shape.reduce((a, b) => a * b, 1)
      if (count !== channels) {
        throw usageError(
          'stats_channels',
          `The statistics ${file} are of ${count} channels ("${name}" is [${shape}]); the model's latents have ${channels}`,
          ['give the statistics of the latents that this model was trained on'],
        )
      }
    }
    const [mean, std] = [await tensors.readFloat32('mean'), await tensors.readFloat32('std')]
    const bad = std.findIndex((value, i) => !(value > 0 && Number.isFinite(value) && Number.isFinite(mean[i]!)))
    if (bad >= 0) {
      throw usageError('bad_stats', `${file}: channel ${bad} has mean ${mean[bad]} and deviation ${std[bad]}`, [
        'compute the statistics anew with `vtp stats`',
      ])
    }
    return latentStats(file, mean, std)
  } finally {
    await tensors.close()
  }
}

/** Statistics with their digest. `name` says where they come from, for people. */
export function latentStats(name: string, mean: Float32Array, std: Float32Array): LatentStats {
  const hash = createHash('sha256')
  for (const values of [mean, std]) hash.update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
  return { name, mean, std, digest: hash.digest('hex') }
}

/** latents · std / multiplier + mean per channel, each operation in float32. `latents` is [N, C, area]. */
export function denormalise(
  latents: Float32Array,
  { mean, std }: LatentStats,
  multiplier: number,
  area: number,
): Float32Array {
  const divisor = Math.fround(multiplier)
  const channels = mean.length
  return latents.map((value, i) => {
    const c = Math.floor(i / area) % channels
    return Math.fround(Math.fround(value * std[c]!) / divisor) + mean[c]!
  })
}
