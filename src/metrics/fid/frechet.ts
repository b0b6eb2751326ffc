/**
 * The Fréchet distance of two Gaussians, |μ₁ − μ₂|² + tr Σ₁ + tr Σ₂ − 2 tr √(Σ₁Σ₂) (Dowson and Landau 1982;
 * Heusel et al. 2017). With Σ₁ = Gᵀ·G the last trace is Σ √λ of the symmetric matrix G·Σ₂·Gᵀ, so nothing
 * is ever complex; G comes from a pivoted Cholesky that stops at the rank, so fewer images than
 * dimensions need no correction either. pytorch-fid takes scipy's sqrtm of the product instead, which
 * for singular covariances returns the same value plus noise.
 */
import { VtpError } from '../../errors.js'
import { pivotedCholesky } from '../linalg/cholesky.js'
import { symmetricEigenvalues } from '../linalg/eigenvalues.js'
import type { MatrixProducts } from '../linalg/matmul.js'
import type { Matrix } from '../linalg/matrix.js'
import type { FeatureStats } from './moments.js'

/** Throws VtpError `stats_mismatch` for statistics of different width. */
export function assertSameWidth(a: { dims: number }, b: { dims: number }): void {
  if (a.dims !== b.dims) {
    throw new VtpError(`The statistics have ${a.dims} and ${b.dims} dimensions: they cannot be compared`, {
      code: 'stats_mismatch',
      exitCode: 2,
      suggestions: ['compute both with the same --dims and --flavour'],
    })
  }
}

/** Throws VtpError `stats_mismatch` for statistics of different width, `not_finite` for such values. */
export async function frechetDistance(a: FeatureStats, b: FeatureStats, products: MatrixProducts): Promise<number> {
  assertSameWidth(a, b)
  for (const stats of [a, b]) {
    if (!stats.mu.every(Number.isFinite) || !stats.sigma.every(Number.isFinite))
      throw new VtpError('The statistics hold values that are not finite numbers', { code: 'not_finite' })
  }
  let distance = 0
  for (let i = 0; i < a.dims; i++) distance += (a.mu[i]! - b.mu[i]!) ** 2
  return distance + trace(a) + trace(b) - 2 * (await traceOfRoot(a, b, products))
}

function trace({ dims, sigma }: FeatureStats): number {
  let sum = 0
  for (let i = 0; i < dims; i++) sum += sigma[i * dims + i]!
  return sum
}

const matrix = ({ dims, sigma }: FeatureStats): Matrix => ({ rows: dims, columns: dims, data: sigma })

/** tr √(Σ₁Σ₂), factoring the covariance of lower rank: the product of the other way round would have eigenvalues of rounding noise. */
async function traceOfRoot(a: FeatureStats, b: FeatureStats, products: MatrixProducts): Promise<number> {
  const [first, second] =
    (b.count ?? Number.POSITIVE_INFINITY) < (a.count ?? Number.POSITIVE_INFINITY) ? [b, a] : [a, b]
  let factor = pivotedCholesky(matrix(first))
  let other = second
  const secondIsFull = second.count !== undefined && second.count > second.dims
  if (factor.rows === first.dims && !secondIsFull) {
    const another = pivotedCholesky(matrix(second))
    if (another.rows < factor.rows) [factor, other] = [another, first]
  }
  const half = await products.timesTransposed(factor, matrix(other)) // G·Σ₂, [rank, dims]
  const product = await products.timesTransposed(half, factor) // G·Σ₂·Gᵀ, [rank, rank]
  return symmetricEigenvalues(product).reduce((sum, value) => sum + Math.sqrt(Math.max(0, value)), 0)
}
