/**
 * Mean and covariance of features, accumulated in float64 while they stream by: features are not kept.
 * Rows are taken in blocks of fixed size and place (512, by their number in the set), each block is
 * centred by its own mean, and blocks are merged as Chan, Golub and LeVeque (1983) do; so the result
 * depends on the rows and their order alone, not on batches or interruptions, and does not cancel.
 */
import { VtpError } from '../../errors.js'
import type { MatrixProducts } from '../linalg/matmul.js'

/** What FID compares. `sigma` is row-major [dims, dims], with the divisor n − 1, as NumPy's cov. */
export interface FeatureStats {
  dims: number
  mu: Float64Array
  sigma: Float64Array
  /** Rows behind them; undefined for statistics from a file that does not say. */
  count?: number
}

export const BLOCK_ROWS = 512

/** What a checkpoint keeps of moments: a type, so that it is a record of arrays, too. */
export type MomentsState = {
  /** One number: rows of merged blocks. */
  count: Float64Array
  mean: Float64Array
  /** Sums of products of deviations, row-major [dims, dims]. */
  m2: Float64Array
  /** Rows of the block that is not full yet, [rows, dims]. */
  pending: Float64Array
}

export interface FeatureMoments {
  readonly dims: number
  /** Rows so far. */
  readonly count: number
  /** Adds rows, [n, dims]. Calls must not overlap. */
  add(features: Float32Array | Float64Array): Promise<void>
  /** A snapshot to continue from. */
  state(): MomentsState
  /** Throws VtpError `too_few_images` below 2 rows. */
  finish(): Promise<FeatureStats>
}

export function createMoments(dims: number, products: MatrixProducts, from?: MomentsState): FeatureMoments {
  let merged = from?.count[0] ?? 0
  const mean = from?.mean.slice() ?? new Float64Array(dims)
  const m2 = from?.m2.slice() ?? new Float64Array(dims * dims)
  const block = new Float64Array(BLOCK_ROWS * dims)
  let filled = 0
  if (from) {
    block.set(from.pending)
    filled = from.pending.length / dims
  }

  const mergeBlock = async (rows: number): Promise<void> => {
    const center = new Float64Array(dims)
    for (let r = 0; r < rows; r++) for (let c = 0; c < dims; c++) center[c]! += block[r * dims + c]!
    for (let c = 0; c < dims; c++) center[c]! /= rows
    const data = new Float64Array(rows * dims)
    for (let r = 0; r < rows; r++) for (let c = 0; c < dims; c++) data[r * dims + c] = block[r * dims + c]! - center[c]!
    const centred = { rows, columns: dims, data }
    const { data: squares } = await products.transposedTimes(centred, centred)
    const total = merged + rows
    const weight = (merged * rows) / total
    const delta = center.map((value, c) => value - mean[c]!)
    for (let i = 0; i < dims; i++) {
      const scaled = delta[i]! * weight
      const at = i * dims
      for (let j = 0; j < dims; j++) m2[at + j]! += squares[at + j]! + scaled * delta[j]!
    }
    for (let c = 0; c < dims; c++) mean[c]! += (delta[c]! * rows) / total
    merged = total
  }

  return {
    dims,
    get count() {
      return merged + filled
    },
    async add(features) {
      for (let at = 0; at < features.length; ) {
        const take = Math.min(features.length - at, (BLOCK_ROWS - filled) * dims)
        block.set(features.subarray(at, at + take), filled * dims)
        filled += take / dims
        at += take
        if (filled < BLOCK_ROWS) continue
        await mergeBlock(BLOCK_ROWS)
        filled = 0
      }
    },
    state: () => ({
      count: Float64Array.of(merged),
      mean: mean.slice(),
      m2: m2.slice(),
      pending: block.slice(0, filled * dims),
    }),
    async finish() {
      if (filled > 0) {
        await mergeBlock(filled)
        filled = 0
      }
      if (merged < 2) {
        throw new VtpError(`A covariance needs at least 2 images; there ${merged === 1 ? 'is 1' : `are ${merged}`}`, {
          code: 'too_few_images',
          exitCode: 2,
          suggestions: ['give more images; FID is usually computed on 10,000 to 50,000'],
        })
      }
      return { dims, mu: mean, sigma: m2.map((value) => value / (merged - 1)), count: merged }
    },
  }
}
