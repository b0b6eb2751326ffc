/**
 * Latents that are drawn from a posterior: mean + exp(logvar / 2) · noise, as the reference of VA-VAE extracts them.
 * The noise is a function of the seed and the row's key alone, so that a row has the same latents in any batch, of
 * any worker, after any interruption. The mirrored image has noise of its own.
 */
import { createHash } from 'node:crypto'
import { float32ToFloat16 } from '../../math/half.js'
import { halves, normals } from '../../math/philox.js'
import type { TensorColumn, TensorData } from '../../types.js'

/** Beside the streams of generate/noise.ts. */
const STREAM_LATENT = 2
const STREAM_MIRRORED = 3

/** Standard normals of one row. */
export function keyNoise(seed: number, key: string, count: number, mirrored = false): Float32Array {
  const digest = createHash('sha256').update(key).digest()
  const stream = mirrored ? STREAM_MIRRORED : STREAM_LATENT
  return normals(halves(seed), [stream, digest.readUInt32LE(0), digest.readUInt32LE(4)], count)
}

/** One draw per element, in float64, rounded once. */
export function drawLatents(mean: Float32Array, logvar: Float32Array, noise: Float32Array): Float32Array {
  return mean.map((value, i) => value + Math.exp(logvar[i]! / 2) * noise[i]!)
}

export interface Posterior {
  mean: TensorData
  logvar: TensorData
}

/** The rows of a batch, in the column's element type. */
export function sampleBatch(
  { mean, logvar }: Posterior,
  keys: readonly string[],
  { seed, column, mirrored }: { seed: number; column: TensorColumn; mirrored: boolean },
): TensorData {
  const size = mean.length / keys.length
  const out = new Float32Array(mean.length)
  for (const [i, key] of keys.entries()) {
    const row = (data: TensorData): Float32Array => (data as Float32Array).subarray(i * size, (i + 1) * size)
    out.set(drawLatents(row(mean), row(logvar), keyNoise(seed, key, size, mirrored)), i * size)
  }
  return column.dtype === 'float16' ? float32ToFloat16(out) : out
}
