/**
 * A random order of any number of rows with random access: position → row without a table, so that a dataset larger
 * than memory is shuffled as a whole. A Feistel network over the next power of four permutes; what lands beyond the
 * last row is permuted again until it does not (cycle walking). Its rounds are Philox with (seed, epoch).
 */
import { halves, philox4x32 } from '../math/philox.js'
import { STREAMS } from './streams.js'

const ROUNDS = 8

export interface Permutation {
  readonly size: number
  /** The row at a position, 0 … size − 1 each. */
  at(position: number): number
}

export function createPermutation(size: number, seed: number, epoch: number): Permutation {
  let bits = 1
  while (4 ** bits < size) bits++
  const side = 2 ** bits
  const key = halves(seed)
  const [low, high] = halves(epoch)
  const mix = (value: number): number => {
    let left = Math.floor(value / side)
    let right = value % side
    for (let round = 0; round < ROUNDS; round++) {
      const word = philox4x32([right, STREAMS.order + round * 256, low, high], key)[0]
      const next = (left ^ (word % side)) >>> 0
      left = right
      right = next
    }
    return left * side + right
  }
  return {
    size,
    at(position) {
      let value = mix(position)
      while (value >= size) value = mix(value)
      return value
    },
  }
}
