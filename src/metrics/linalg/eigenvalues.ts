/**
 * Eigenvalues of a symmetric matrix: Householder reduction to tridiagonal form, then the implicit QL
 * method (Golub and Van Loan, Matrix Computations, 8.3). The rank-2 update of one reflection and the product of the
 * next one share a pass over the lower triangle, because memory is what limits the reduction.
 */
import { VtpError } from '../../errors.js'
import { openWorkspace } from './kernels.js'
import type { Matrix } from './matrix.js'

/** Ascending eigenvalues; only the lower triangle is read. */
export function symmetricEigenvalues(matrix: Matrix): Float64Array {
  const { diagonal, below } = tridiagonalize(matrix)
  return tridiagonalEigenvalues(diagonal, below)
}

/** Numbers of the workspace's vectors. */
const [U, Q, V, P] = [0, 1, 2, 3]

/** `below[i]` couples i and i + 1. */
function tridiagonalize({ rows: n, data }: Matrix): { diagonal: Float64Array; below: Float64Array } {
  const work = openWorkspace(n, 4)
  // The lower triangle; blocks of 4 × 4 on the diagonal are whole.
  for (let i = 0; i < n; i++) work.row(i).set(data.subarray(i * n, i * n + Math.min(n, (i | 3) + 1)))
  const diagonal = new Float64Array(n)
  const below = new Float64Array(Math.max(0, n - 1))
  const [u, q, v, p] = work.vectors as [Float64Array, Float64Array, Float64Array, Float64Array]
  for (let i = n - 1; i >= 0; i--) {
    // A −= u·qᵀ + q·uᵀ of the reflection before is still due.
    const last = work.row(i)
    const [ui, qi] = [u[i]!, q[i]!]
    for (let k = 0; k <= i; k++) last[k]! -= ui * q[k]! + qi * u[k]!
    diagonal[i] = last[i]!
    if (i === 0) break
    const h = reflection(last, i, v, below)
    p.fill(0)
    work.updateAndMultiply(i, U, Q, V, P)
    // The next update: u = v, q = A·v / h − (vᵀ·A·v / 2h²)·v; none where the row is reduced already.
    let dot = 0
    for (let k = 0; k < i; k++) dot += v[k]! * p[k]!
    const share = h > 0 ? dot / (2 * h * h) : 0
    for (let k = 0; k < i; k++) q[k] = h > 0 ? p[k]! / h - share * v[k]! : 0
    q.fill(0, i)
    u.set(v)
  }
  return { diagonal, below }
}

/** Writes v of the reflection I − v·vᵀ / h that takes the row's first i elements to the last of them; returns h. */
function reflection(row: Float64Array, i: number, v: Float64Array, below: Float64Array): number {
  v.fill(0)
  let scale = 0
  for (let k = 0; k < i - 1; k++) scale = Math.max(scale, Math.abs(row[k]!))
  if (!(scale > 0)) {
    below[i - 1] = row[i - 1]!
    return 0
  }
  scale = Math.max(scale, Math.abs(row[i - 1]!))
  let sum = 0
  for (let k = 0; k < i; k++) {
    v[k] = row[k]! / scale
    sum += v[k]! * v[k]!
  }
  const f = v[i - 1]!
  const g = f >= 0 ? -Math.sqrt(sum) : Math.sqrt(sum)
  below[i - 1] = scale * g
  v[i - 1] = f - g
  return sum - f * g
}

const MAX_SWEEPS = 60

/** Implicit QL with Wilkinson's shift, without vectors. */
function tridiagonalEigenvalues(d: Float64Array, below: Float64Array): Float64Array {
  const n = d.length
  const e = new Float64Array(n)
  e.set(below)
  // Below 1, squares cannot overflow; a power of two changes no digit.
  const largest = Math.max(...[d, e].map((values) => values.reduce((max, value) => Math.max(max, Math.abs(value)), 0)))
  const scale = largest > 0 ? 2 ** Math.ceil(Math.log2(largest)) : 1
  for (const values of [d, e]) for (let i = 0; i < n; i++) values[i]! /= scale
  for (let l = 0; l < n; l++) {
    for (let sweep = 0; ; sweep++) {
      let m = l
      for (; m < n - 1; m++) {
        const size = Math.abs(d[m]!) + Math.abs(d[m + 1]!)
        if (Math.abs(e[m]!) <= Number.EPSILON * size) break
      }
      if (m === l) break
      if (sweep >= MAX_SWEEPS)
        throw new VtpError(
          'The eigenvalues of a covariance did not converge: it may hold values that are not numbers',
          {
            code: 'no_convergence',
          },
        )
      let g = (d[l + 1]! - d[l]!) / (2 * e[l]!)
      let r = Math.sqrt(g * g + 1)
      g = d[m]! - d[l]! + e[l]! / (g + (g >= 0 ? r : -r))
      let s = 1
      let c = 1
      let p = 0
      let i = m - 1
      for (; i >= l; i--) {
        let f = s * e[i]!
        const b = c * e[i]!
        r = Math.sqrt(f * f + g * g)
        e[i + 1] = r
        if (r === 0) {
          d[i + 1]! -= p
          e[m] = 0
          break
        }
        s = f / r
        c = g / r
        g = d[i + 1]! - p
        f = (d[i]! - g) * s + 2 * c * b
        p = s * f
        d[i + 1] = g + p
        g = c * f - b
      }
      if (r === 0 && i >= l) continue
      d[l]! -= p
      e[l] = g
      e[m] = 0
    }
  }
  for (let i = 0; i < n; i++) d[i]! *= scale
  return d.sort()
}
