/**
 * The order of training rows, as the script's loader gives it: every epoch begins a new permutation of the
 * set, and when the set is smaller than the epoch, permutations follow each other without a gap.
 * Depends on the seed, the epoch and the step alone, so a run can continue anywhere.
 */
import { createRandom, shuffle } from '../../math/random.js'

export interface Sampler {
  /** Row numbers of a step of an epoch. */
  rows(epoch: number, step: number): number[]
  /** Seeds for the augmentation of a step's images. */
  draws(epoch: number, step: number): number[]
}

export function createSampler(count: number, batch: number, seed: number): Sampler {
  let held = ''
  let permutation = new Uint32Array()
  const permute = (epoch: number, number: number): Uint32Array => {
    const key = `${epoch} ${number}`
    if (held !== key) {
      permutation = shuffle(
        Uint32Array.from({ length: count }, (_, i) => i),
        createRandom(mixSeeds(seed, epoch, number)),
      )
      held = key
    }
    return permutation
  }
  return {
    rows: (epoch, step) =>
      Array.from({ length: batch }, (_, i) => {
        const position = step * batch + i
        return permute(epoch, Math.floor(position / count))[position % count]!
      }),
    draws: (epoch, step) => Array.from({ length: batch }, (_, i) => mixSeeds(seed, epoch + 0x10000, step * batch + i)),
  }
}

/** One 32-bit seed of several numbers. */
export function mixSeeds(...parts: number[]): number {
  let h = 0x811c9dc5
  for (const part of parts) {
    h = Math.imul(h ^ (part | 0), 0x01000193)
    h ^= h >>> 15
    h = Math.imul(h, 0x2c1b3c6d)
    h ^= h >>> 13
  }
  return h >>> 0
}
