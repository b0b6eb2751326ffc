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

export async function inceptionScore(logits: FeatureFile, wantedSplits = 10): Promise<InceptionScore> {
  const splits = Math.max(1, Math.min(wantedSplits, logits.count))
  const scores: number[] = []
  for (let split = 0; split < splits; split++) {
    const start = Math.floor((split * logits.count) / splits)
    const end = Math.floor(((split + 1) * logits.count) / splits)
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
