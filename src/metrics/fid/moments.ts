/**
 * Mean and covariance of features, accumulated in float64 while they stream by: features are not kept.
 * Rows are taken in blocks of fixed size and place (512, by their number in the set), each block is
 * centred by its own mean, and blocks are merged as Chan, Golub and LeVeque (1983) do; so the result
 * depends on the rows and their order alone, not on batches or interruptions, and does not cancel.
 * Sums of products are symmetric: only the lower triangle is computed, by panels of rows.
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
const PANEL_ROWS = 512

export interface MomentsState {
  count: number
  mean: Float64Array
  /** Sums of products of deviations, row-major [dims, dims]; the upper triangle means nothing. */
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
  let merged = from?.count ?? 0
  const mean = from?.mean.slice() ?? new Float64Array(dims)
  const m2 = from?.m2.slice() ?? new Float64Array(dims * dims)
  const block = new Float64Array(BLOCK_ROWS * dims)
  let filled = 0
  if (from) {
    block.set(from.pending)
    filled = from.pending.length / dims
  }

  const mergeBlock = async (rows: number): Promise<void> => {
    const { center, centred } = centreBlock(block, rows, dims)
    const total = merged + rows
    const weight = (merged * rows) / total
    const delta = center.map((value, c) => value - mean[c]!)
    const addPanel = async (from: number): Promise<void> => {
      const to = Math.min(from + PANEL_ROWS, dims)
      const part = (start: number) => ({
        rows: to - start,
        columns: rows,
        data: centred.subarray(start * rows, to * rows),
      })
      const { data: squares } = await products.timesTransposed(part(from), part(0)) // [to − from, to]
      for (let i = from; i < to; i++) {
        const scaled = delta[i]! * weight
        const at = (i - from) * to
        for (let j = 0; j <= i; j++) m2[i * dims + j]! += squares[at + j]! + scaled * delta[j]!
      }
    }
    await Promise.all(Array.from({ length: Math.ceil(dims / PANEL_ROWS) }, (_, panel) => addPanel(panel * PANEL_ROWS)))
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
    state: () => ({ count: merged, mean: mean.slice(), m2: m2.slice(), pending: block.slice(0, filled * dims) }),
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
      const sigma = new Float64Array(dims * dims)
      for (let i = 0; i < dims; i++)
        for (let j = 0; j <= i; j++) sigma[i * dims + j] = sigma[j * dims + i] = m2[i * dims + j]! / (merged - 1)
      return { dims, mu: mean, sigma, count: merged }
    },
  }
}

/** Rows [rows, dims] → their mean, and the deviations from it, [dims, rows]. */
function centreBlock(block: Float64Array, rows: number, dims: number): { center: Float64Array; centred: Float64Array } {
  const center = new Float64Array(dims)
  for (let r = 0; r < rows; r++) for (let c = 0; c < dims; c++) center[c]! += block[r * dims + c]!
  for (let c = 0; c < dims; c++) center[c]! /= rows
  const centred = new Float64Array(dims * rows)
  // A few rows at a time: one line of the cache is filled at once.
  for (let r0 = 0; r0 < rows; r0 += 8) {
    const end = Math.min(r0 + 8, rows)
    for (let c = 0; c < dims; c++)
      for (let r = r0; r < end; r++) centred[c * rows + r] = block[r * dims + c]! - center[c]!
  }
  return { center, centred }
}
