/**
 * Eigenvalues of a symmetric matrix: Householder reduction to tridiagonal form, then the implicit QL
 * method (Golub and Van Loan, Matrix Computations, 8.3). The rank-2 update of one reflection and the product of the
 * next one share a pass over the lower triangle, because memory is what limits the reduction.
 */
import { VtpError } from '../../errors.js'
import type { Matrix } from './matmul.js'

/** Ascending eigenvalues; only the lower triangle is read. */
export function symmetricEigenvalues(matrix: Matrix): Float64Array {
  const { diagonal, below } = tridiagonalize(matrix)
  return tridiagonalEigenvalues(diagonal, below)
}

/** `below[i]` couples i and i + 1. */
function tridiagonalize({ rows: n, data }: Matrix): { diagonal: Float64Array; below: Float64Array } {
  const rows = Array.from({ length: n }, (_, i) => data.slice(i * n, i * n + i + 1)) // lower triangle
  const diagonal = new Float64Array(n)
  const below = new Float64Array(Math.max(0, n - 1))
  // The pending update A −= u·qᵀ + q·uᵀ of the reflection before.
  let u = new Float64Array(n)
  let q = new Float64Array(n)
  let pending = false
  for (let i = n - 1; i >= 1; i--) {
    const last = rows[i]!
    if (pending) update(last, u, q, i, i + 1)
    diagonal[i] = last[i]!
    // Reflect row i's elements 0 … i−1 onto the last of them.
    let scale = 0
    for (let k = 0; k < i - 1; k++) scale = Math.max(scale, Math.abs(last[k]!))
    const v = new Float64Array(i)
    let h = 0
    if (scale > 0) {
      scale = Math.max(scale, Math.abs(last[i - 1]!))
      let sum = 0
      for (let k = 0; k < i; k++) {
        v[k] = last[k]! / scale
        sum += v[k]! * v[k]!
      }
      const f = v[i - 1]!
      const g = f >= 0 ? -Math.sqrt(sum) : Math.sqrt(sum)
      below[i - 1] = scale * g
      h = sum - f * g
      v[i - 1] = f - g
    } else below[i - 1] = last[i - 1]!
    const p = new Float64Array(i)
    for (let j = 0; j < i; j++) {
      const row = rows[j]!
      if (pending && h > 0) p[j]! += updateAndMultiply(row, u, q, j, v, p)
      else if (pending) update(row, u, q, j, j + 1)
      else if (h > 0) p[j]! += multiply(row, j, v, p)
    }
    pending = h > 0
    if (!pending) continue
    let k = 0
    for (let j = 0; j < i; j++) {
      p[j]! /= h
      k += v[j]! * p[j]!
    }
    k /= 2 * h
    for (let j = 0; j < i; j++) p[j]! -= k * v[j]!
    u = v
    q = p
  }
  if (n > 0) {
    if (pending) update(rows[0]!, u, q, 0, 1)
    diagonal[0] = rows[0]![0]!
  }
  return { diagonal, below }
}

function update(row: Float64Array, u: Float64Array, q: Float64Array, j: number, length: number): void {
  const uj = u[j]!
  const qj = q[j]!
  for (let k = 0; k < length; k++) row[k]! -= uj * q[k]! + qj * u[k]!
}

/** Row j's share of p = A·v: adds to p[k < j], returns p[j]'s. */
function multiply(row: Float64Array, j: number, v: Float64Array, p: Float64Array): number {
  const vj = v[j]!
  let s0 = row[j]! * vj
  let s1 = 0
  let k = 0
  for (; k + 1 < j; k += 2) {
    const a0 = row[k]!
    const a1 = row[k + 1]!
    s0 += a0 * v[k]!
    s1 += a1 * v[k + 1]!
    p[k]! += a0 * vj
    p[k + 1]! += a1 * vj
  }
  if (k < j) {
    const a0 = row[k]!
    s0 += a0 * v[k]!
    p[k]! += a0 * vj
  }
  return s0 + s1
}

function updateAndMultiply(
  row: Float64Array,
  u: Float64Array,
  q: Float64Array,
  j: number,
  v: Float64Array,
  p: Float64Array,
): number {
  const uj = u[j]!
  const qj = q[j]!
  const vj = v[j]!
  let s0 = 0
  let s1 = 0
  let k = 0
  for (; k + 1 < j; k += 2) {
    const a0 = row[k]! - (uj * q[k]! + qj * u[k]!)
    const a1 = row[k + 1]! - (uj * q[k + 1]! + qj * u[k + 1]!)
    row[k] = a0
    row[k + 1] = a1
    s0 += a0 * v[k]!
    s1 += a1 * v[k + 1]!
    p[k]! += a0 * vj
    p[k + 1]! += a1 * vj
  }
  if (k < j) {
    const a0 = row[k]! - (uj * q[k]! + qj * u[k]!)
    row[k] = a0
    s0 += a0 * v[k]!
    p[k]! += a0 * vj
  }
  const own = row[j]! - 2 * uj * qj
  row[j] = own
  return s0 + s1 + own * vj
}

const MAX_SWEEPS = 60

/** Implicit QL with Wilkinson's shift, without vectors. */
function tridiagonalEigenvalues(d: Float64Array, below: Float64Array): Float64Array {
  const n = d.length
  const e = new Float64Array(n)
  e.set(below)
  for (let l = 0; l < n; l++) {
    for (let sweep = 0; ; sweep++) {
      let m = l
      for (; m < n - 1; m++) {
        const size = Math.abs(d[m]!) + Math.abs(d[m + 1]!)
        if (Math.abs(e[m]!) <= Number.EPSILON * size) break
      }
      if (m === l) break
      if (sweep >= MAX_SWEEPS)
        throw new VtpError('The eigenvalues of a covariance did not converge: it may hold values that are no numbers', {
          code: 'no_convergence',
        })
      let g = (d[l + 1]! - d[l]!) / (2 * e[l]!)
      let r = Math.hypot(g, 1)
      g = d[m]! - d[l]! + e[l]! / (g + (g >= 0 ? r : -r))
      let s = 1
      let c = 1
      let p = 0
      let i = m - 1
      for (; i >= l; i--) {
        let f = s * e[i]!
        const b = c * e[i]!
        r = Math.hypot(f, g)
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
  return d.sort()
}
