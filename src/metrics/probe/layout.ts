/**
 * A row of a probe's features: the CLS tokens of the last blocks, oldest first, then the mean of the last block's
 * patch tokens.
 */

import type { RejectCounts } from '../../pipeline/ledger/rejects.js'

/** Width of the vector that stands for an image (a CLS token, a pooled vector), and how many of them a row has. */
export interface FeatureLayout {
  dim: number
  blocks: number
  /** What that vector is. */
  vector: 'CLS' | 'pooled vector'
  /** Whether the mean of the patch tokens follows. */
  patches: boolean
}

export const rowWidth = ({ dim, blocks, patches }: FeatureLayout): number => dim * (blocks + (patches ? 1 : 0))

/** The input of heads that read the last `blocks` CLS tokens (and the patch mean) of rows. */
export function selectInput(rows: Float32Array, layout: FeatureLayout, blocks: number, avgpool: boolean): Float32Array {
  const width = rowWidth(layout)
  const start = (layout.blocks - blocks) * layout.dim
  const end = (layout.blocks + (avgpool ? 1 : 0)) * layout.dim
  if (start === 0 && end === width) return rows
  const count = rows.length / width
  const out = new Float32Array(count * (end - start))
  for (let i = 0; i < count; i++) out.set(rows.subarray(i * width + start, i * width + end), i * (end - start))
  return out
}

/** Rows in memory for one batch; images that cannot be read are left out. */
export interface FeatureBatch {
  rows: Float32Array
  labels: Int32Array
  /** Images of the batch that could not be read; they have no row. */
  rejects: RejectCounts
}

/** [N, dim] of every block and [N, L, dim] of the patches → rows. */
export function joinRows(
  cls: Float32Array[],
  patches: Float32Array | undefined,
  count: number,
  dim: number,
): Float32Array {
  const width = dim * (cls.length + (patches ? 1 : 0))
  const out = new Float32Array(count * width)
  for (let i = 0; i < count; i++) {
    for (const [b, values] of cls.entries()) out.set(values.subarray(i * dim, (i + 1) * dim), i * width + b * dim)
    if (!patches) continue
    const length = patches.length / count / dim
    const sums = new Float64Array(dim)
    for (let t = 0; t < length; t++) {
      const at = (i * length + t) * dim
      for (let c = 0; c < dim; c++) sums[c]! += patches[at + c]!
    }
    for (let c = 0; c < dim; c++) out[i * width + cls.length * dim + c] = sums[c]! / length
  }
  return out
}
