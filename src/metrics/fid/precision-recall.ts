/**
 * Improved precision and recall (Kynkäänniemi et al. 2019): the share of one set's features that lie
 * inside the other set's manifold, the union of balls that reach to each point's k-th neighbour (k = 3,
 * as ADM's evaluator). Distances are computed block by block; only radii are kept.
 */
import { VtpError } from '../../errors.js'
import { createRandom, sampleIndices } from '../../math/random.js'
import type { MatrixProducts } from '../linalg/matmul.js'
import type { Matrix } from '../linalg/matrix.js'
import type { FeatureFile } from './feature-file.js'

export interface PrecisionRecallOptions {
  /** Neighbour that sets a ball's radius. */
  k: number
  /** At most this many images of each set, chosen by the seed. */
  images: number
  seed: number
}

const BLOCK = 1000

/** Precision: generated `b` inside real `a`; recall: `a` inside `b`. */
export async function precisionRecall(
  a: FeatureFile,
  b: FeatureFile,
  products: MatrixProducts,
  options: PrecisionRecallOptions,
): Promise<{ precision: number; recall: number }> {
  const { k, images, seed } = options
  if (Math.min(a.count, b.count) <= k) {
    throw new VtpError(`Precision and recall need more than ${k} images in each set`, {
      code: 'too_few_images',
      exitCode: 2,
    })
  }
  const random = createRandom(seed)
  const chosen = (set: FeatureFile): number[] => sampleIndices(set.count, images, random).sort((x, y) => x - y)
  const [fromA, fromB] = [chosen(a), chosen(b)]
  const radiiA = await radii(a, fromA, k, products)
  const radiiB = await radii(b, fromB, k, products)
  const insideA = new Uint8Array(fromB.length)
  const insideB = new Uint8Array(fromA.length)
  for await (const { i0, j0, squares, rows, columns } of distances(a, fromA, b, fromB, products)) {
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < columns; j++) {
        const square = squares[i * columns + j]!
        if (square <= radiiA[i0 + i]!) insideA[j0 + j] = 1
        if (square <= radiiB[j0 + j]!) insideB[i0 + i] = 1
      }
    }
  }
  const share = (inside: Uint8Array): number => inside.reduce((sum, value) => sum + value, 0) / inside.length
  return { precision: share(insideA), recall: share(insideB) }
}

/** Squared distance of each point to its k-th neighbour in its own set. */
async function radii(set: FeatureFile, chosen: number[], k: number, products: MatrixProducts): Promise<Float64Array> {
  // The point itself, at distance 0, is among the k + 1 nearest.
  const nearest = Array.from({ length: chosen.length }, () => new Float64Array(k + 1).fill(Number.POSITIVE_INFINITY))
  for await (const { i0, j0, squares, rows, columns } of distances(set, chosen, set, chosen, products)) {
    for (let i = 0; i < rows; i++) {
      const best = nearest[i0 + i]!
      for (let j = 0; j < columns; j++) {
        const square = i0 + i === j0 + j ? 0 : squares[i * columns + j]!
        if (square >= best[k]!) continue
        let at = k
        for (; at > 0 && best[at - 1]! > square; at--) best[at] = best[at - 1]!
        best[at] = square
      }
    }
  }
  return Float64Array.from(nearest, (best) => best[k]!)
}

async function* distances(a: FeatureFile, fromA: number[], b: FeatureFile, fromB: number[], products: MatrixProducts) {
  for (let i0 = 0; i0 < fromA.length; i0 += BLOCK) {
    const x = await a.rows(fromA.slice(i0, i0 + BLOCK))
    const xNorms = norms(x)
    for (let j0 = 0; j0 < fromB.length; j0 += BLOCK) {
      const y = await b.rows(fromB.slice(j0, j0 + BLOCK))
      const yNorms = norms(y)
      const { rows, columns, data: squares } = await products.timesTransposed(x, y)
      for (let i = 0; i < rows; i++)
        for (let j = 0; j < columns; j++) {
          const at = i * columns + j
          squares[at] = Math.max(0, xNorms[i]! + yNorms[j]! - 2 * squares[at]!)
        }
      yield { i0, j0, squares, rows, columns }
    }
  }
}

function norms({ rows, columns, data }: Matrix): Float64Array {
  const out = new Float64Array(rows)
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) out[r]! += data[r * columns + c]! ** 2
  return out
}
