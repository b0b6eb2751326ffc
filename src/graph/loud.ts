/**
 * Loud channels: the few outputs of a norm that its weight makes many times as large as the others. However they
 * are evened out, they take most of the 8 bits of every row that they are in, and most of the products' energy is
 * theirs. So the int8 graph leaves them out of the integers and multiplies them in float32, a product with as many
 * rows as there are loud channels. The first block, whose errors pass through all others, stays in float32 where it
 * has any (vit.ts). Checkpoints without such channels get neither: docs/performance.md says what each is worth.
 * (The idea is that of LLM.int8(), Dettmers et al. 2022, with norm weights instead of activations.)
 */
import type { ReadTensor } from './read-tensor.js'

/** Channels of the outputs of a block's norms. */
export interface LoudChannels {
  norm1: number[]
  norm2: number[]
}

/** This many times the median makes a channel loud. */
const LOUD = 6
/** With more than one in this many they are no exceptions, and the product would cost time. */
const MOST = 32
/** What loud channels are divided by, so that they never decide a row's scale; a power of two, so that it is exact. */
export const HUSH = 2 ** 16

/** Channels whose sizes stand out, in their order; the largest where they are too many. */
export function loudChannels(sizes: Float32Array): number[] {
  const median = Float32Array.from(sizes).sort()[sizes.length >> 1]!
  const found = [...sizes.keys()].filter((i) => sizes[i]! > LOUD * median)
  found.sort((a, b) => sizes[b]! - sizes[a]!)
  return found.slice(0, Math.floor(sizes.length / MOST)).sort((a, b) => a - b)
}

/** The loud channels of every block. */
export async function findLoudChannels(
  read: ReadTensor,
  { prefix, depth }: { prefix: string; depth: number },
): Promise<LoudChannels[]> {
  const find = async (name: string): Promise<number[]> => loudChannels((await read(`${name}.weight`)).map(Math.abs))
  const out: LoudChannels[] = []
  for (let i = 0; i < depth; i++) {
    const block = `${prefix}.blocks.${i}`
    out.push({ norm1: await find(`${block}.norm1`), norm2: await find(`${block}.norm2`) })
  }
  return out
}

/** Whether a block has any. */
export function isLoud(channels: LoudChannels | undefined): boolean {
  return channels !== undefined && channels.norm1.length + channels.norm2.length > 0
}

/** [K, N] with the rows of loud channels set to zero. */
export function withoutRows(matrix: Float32Array, outer: number, rows: number[]): Float32Array {
  if (rows.length === 0) return matrix
  const out = matrix.slice()
  for (const k of rows) out.fill(0, k * outer, (k + 1) * outer)
  return out
}

/** The rows of loud channels alone, [c, N]. */
export function onlyRows(matrix: Float32Array, outer: number, rows: number[]): Float32Array {
  const out = new Float32Array(rows.length * outer)
  for (const [at, k] of rows.entries()) out.set(matrix.subarray(k * outer, (k + 1) * outer), at * outer)
  return out
}
