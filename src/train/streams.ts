/** Random numbers of a training: Philox (math/philox.ts) with the seed as key and (block, stream, index) as counter. */
import { halves, philox4x32, normals as streamNormals, unit } from '../math/philox.js'

/** What is drawn. A number that is in use keeps its meaning for ever; 0 and 1 are those of `vtp generate`. */
export const STREAMS = { noise: 2, time: 3, flip: 4, drop: 5, init: 6, order: 7 } as const

/** One block of a stream for an index: two uniform numbers. `seed` and `index` are whole numbers from 0 to 2^53 − 1. */
export function uniforms(seed: number, stream: number, index: number, block = 0): [number, number] {
  const [low, high] = halves(index)
  const [a, b, c, d] = philox4x32([block, stream, low, high], halves(seed))
  return [unit(a, b), unit(c, d)]
}

/** Standard normals of an index, rounded to float32. */
export function normals(seed: number, stream: number, index: number, count: number): Float32Array {
  return streamNormals(halves(seed), [stream, ...halves(index)], count)
}

/** One standard normal in float64. */
export function normal(seed: number, stream: number, index: number): number {
  const [u, v] = uniforms(seed, stream, index)
  return Math.sqrt(-2 * Math.log(1 - u)) * Math.cos(2 * Math.PI * v)
}
