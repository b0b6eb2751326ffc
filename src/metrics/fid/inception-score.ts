/**
 * Inception Score (Salimans et al. 2016): exp of the mean KL divergence of p(y|x) from its mean, over
 * consecutive splits; p is the softmax over all 1008 outputs without bias, as ADM and torch-fidelity.
 */
import type { FeatureFile } from './feature-file.js'

export interface InceptionScore {
  mean: number
  /** Population deviation over the splits. */
  std: number
  splits: number
}

const BLOCK = 1000

/** Rows from `start` to before `end`. */
export type RowRange = [start: number, end: number]

/** Rows of a split in guided-diffusion's evaluator (compute_inception_score, split_size). */
export const ADM_SPLIT = 5000

/** `wanted` splits of nearly equal size, fewer where there are fewer rows. */
export function splitsOf(count: number, wanted: number): RowRange[] {
  const splits = Math.max(1, Math.min(wanted, count))
  const edge = (i: number): number => Math.floor((i * count) / splits)
  return Array.from({ length: splits }, (_, i) => [edge(i), edge(i + 1)])
}

/** Parts of `size` rows, the last one as it comes. */
export function partsOf(count: number, size: number): RowRange[] {
  return Array.from({ length: Math.ceil(count / size) }, (_, i) => [i * size, Math.min((i + 1) * size, count)])
}

export async function inceptionScore(logits: FeatureFile, ranges: readonly RowRange[]): Promise<InceptionScore> {
  const splits = ranges.length
  const scores: number[] = []
  for (const [start, end] of ranges) {
    const marginal = new Float64Array(logits.dims)
    let negativeEntropy = 0
    for (let at = start; at < end; at += BLOCK) {
      const rows = Math.min(BLOCK, end - at)
      const block = await logits.block(at, rows)
      for (let r = 0; r < rows; r++)
        negativeEntropy += addSoftmax(block.subarray(r * logits.dims, (r + 1) * logits.dims), marginal)
    }
    const n = end - start
    let crossed = 0
    for (const sum of marginal) if (sum > 0) crossed += (sum / n) * Math.log(sum / n)
    scores.push(Math.exp(negativeEntropy / n - crossed))
  }
  const mean = scores.reduce((a, b) => a + b, 0) / splits
  const variance = scores.reduce((sum, score) => sum + (score - mean) ** 2, 0) / splits
  return { mean, std: Math.sqrt(variance), splits }
}

/** Adds softmax(row) to `marginal` and returns Σ p log p. */
function addSoftmax(row: Float32Array, marginal: Float64Array): number {
  const max = row.reduce((m, v) => Math.max(m, v), Number.NEGATIVE_INFINITY)
  let total = 0
  for (const value of row) total += Math.exp(value - max)
  const log = Math.log(total)
  let sum = 0
  for (let i = 0; i < row.length; i++) {
    const logP = row[i]! - max - log
    const p = Math.exp(logP)
    marginal[i]! += p
    sum += p * logP
  }
  return sum
}
