/**
 * Mean and covariance of features, accumulated in float64 while they stream by: features are not kept.
 * Rows are taken in blocks of fixed size and place (1024, by their number in the set), each block is
 * centred by its own mean, and blocks are merged as Chan, Golub and LeVeque (1983) do; so the result
 * depends on the rows and their order alone, not on batches or interruptions, and does not cancel.
 * The merge of two means is one more row of the block: √(n₁n₂ / n) times their difference.
 */
import { VtpError } from '../../errors.js'
import type { MatrixProducts } from '../linalg/matmul.js'
import { panelsOf } from '../linalg/row-products.js'

/** What FID compares. `sigma` is row-major [dims, dims], with the divisor n − 1, as NumPy's cov. */
export interface FeatureStats {
  dims: number
  mu: Float64Array
  sigma: Float64Array
  /** Rows behind them; undefined for statistics from a file that does not say. */
  count?: number
}

export const BLOCK_ROWS = 1024

/** What a checkpoint keeps of moments: a type, so that it is a record of arrays, too. */
export type MomentsState = {
  /** One number: rows of merged blocks. */
  count: Float64Array
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
  /** A snapshot to continue from. Calls must not overlap those of `add`. */
  state(): Promise<MomentsState>
  /** Throws VtpError `too_few_images` below 2 rows. */
  finish(): Promise<FeatureStats>
}

export function createMoments(dims: number, products: MatrixProducts, from?: MomentsState): FeatureMoments {
  let merged = from?.count[0] ?? 0
  const mean = from?.mean.slice() ?? new Float64Array(dims)
  // m2's lower triangle, of all blocks that have been taken: the last one may still be on its way.
  const first = panelsOf(dims).map(({ start, end }) => {
    const panel = new Float64Array((end - start) * end)
    if (from) for (let i = start; i < end; i++) panel.set(from.m2.subarray(i * dims, i * dims + end), (i - start) * end)
    return panel
  })
  let panels: Promise<Float64Array[]> = Promise.resolve(first)
  const block = new Float64Array(BLOCK_ROWS * dims)
  let filled = 0
  if (from) {
    block.set(from.pending)
    filled = from.pending.length / dims
  }

  /** Takes the block over; the next one may be filled while it is merged, and waits for the one before. */
  const mergeBlock = async (rows: number): Promise<void> => {
    const total = merged + rows
    const { delta, centred } = centreBlock(block, rows, mean, Math.sqrt((merged * rows) / total))
    for (let c = 0; c < dims; c++) mean[c]! += (delta[c]! * rows) / total
    merged = total
    filled = 0
    const before = panels
    panels = before.then(async (sums) => (await products.rowProducts()).add(sums, centred))
    panels.catch(() => {}) // whoever waits for it next gets the error
    await before
  }
  const lowerTriangle = async (): Promise<Float64Array> => {
    const sums = await panels
    const m2 = new Float64Array(dims * dims)
    for (const [p, { start, end }] of panelsOf(dims).entries())
      for (let i = start; i < end; i++) m2.set(sums[p]!.subarray((i - start) * end, (i - start + 1) * end), i * dims)
    return m2
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
      }
    },
    async state() {
      const pending = block.slice(0, filled * dims)
      return { count: Float64Array.of(merged), mean: mean.slice(), m2: await lowerTriangle(), pending }
    },
    async finish() {
      if (filled > 0) await mergeBlock(filled)
      if (merged < 2) {
        throw new VtpError(`A covariance needs at least 2 images; there ${merged === 1 ? 'is 1' : `are ${merged}`}`, {
          code: 'too_few_images',
          exitCode: 2,
          suggestions: ['give more images; FID is usually computed on 10,000 to 50,000'],
        })
      }
      const sigma = await lowerTriangle()
      for (let i = 0; i < dims; i++)
        for (let j = 0; j <= i; j++) sigma[i * dims + j] = sigma[j * dims + i] = sigma[i * dims + j]! / (merged - 1)
      return { dims, mu: mean, sigma, count: merged }
    },
  }
}

/**
 * Rows [rows, dims] → what their mean is above `mean`, and their deviations from it as [dims, rows + 1], with
 * `weight` times that difference in the last column.
 */
function centreBlock(block: Float64Array, rows: number, mean: Float64Array, weight: number) {
  const dims = mean.length
  const center = new Float64Array(dims)
  for (let r = 0; r < rows; r++) for (let c = 0; c < dims; c++) center[c]! += block[r * dims + c]!
  for (let c = 0; c < dims; c++) center[c]! /= rows
  const delta = center.map((value, c) => value - mean[c]!)
  const columns = rows + 1
  const data = new Float64Array(dims * columns)
  // A few rows at a time: one line of the cache is filled at once.
  for (let r0 = 0; r0 < rows; r0 += 8) {
    const end = Math.min(r0 + 8, rows)
    for (let c = 0; c < dims; c++)
      for (let r = r0; r < end; r++) data[c * columns + r] = block[r * dims + c]! - center[c]!
  }
  for (let c = 0; c < dims; c++) data[c * columns + rows] = weight * delta[c]!
  return { delta, centred: { rows: dims, columns, data } }
}
