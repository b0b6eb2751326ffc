/**
 * Noise and random labels that are functions of (seed, index of the sample) alone, so that sample i is the
 * same whatever the batch, the worker or an interruption.
 *
 * Philox (math/philox.ts) with the seed's two halves as key and (block, stream, index low, index high) as counter;
 * normals come in the order of the latent's elements [C, H, W].
 */
import { halves, normals, philox4x32, unit } from '../math/philox.js'

const STREAM_NOISE = 0
const STREAM_LABEL = 1

/** Standard normals of one sample. `seed` and `index` are whole numbers from 0 to 2^53 − 1. */
export function sampleNoise(seed: number, index: number, count: number): Float32Array {
  return normals(halves(seed), [STREAM_NOISE, ...halves(index)], count)
}

/** A uniform whole number in [0, count) for one sample. */
export function sampleChoice(seed: number, index: number, count: number): number {
  const [low, high] = halves(index)
  const [a, b] = philox4x32([0, STREAM_LABEL, low, high], halves(seed))
  return Math.floor(unit(a, b) * count)
}
