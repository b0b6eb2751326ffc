/**
 * Pivoted Cholesky of a symmetric positive semidefinite matrix: P·A·Pᵀ = L·Lᵀ, stopped at the numerical
 * rank, as LAPACK's dpstrf does (tolerance n · epsilon · largest diagonal element; Higham 1990).
 * Left-looking by rows, so that every inner loop is a dot product of neighbouring numbers.
 */
import type { Matrix } from './matmul.js'

/** F [n, rank] with F·Fᵀ = A, rows in A's own order. */
export function pivotedCholesky(a: Matrix): Matrix {
  const n = a.rows
  const order = Int32Array.from({ length: n }, (_, i) => i)
  const rows = Array.from({ length: n }, () => new Float64Array(n)) // of L, in pivoted order
  const rest = new Float64Array(n)
  for (let i = 0; i < n; i++) rest[i] = a.data[i * n + i]!
  const tolerance = n * Number.EPSILON * rest.reduce((max, value) => Math.max(max, value), 0)
  let rank = 0
  for (let k = 0; k < n; k++) {
    let pivot = k
    for (let i = k + 1; i < n; i++) if (rest[i]! > rest[pivot]!) pivot = i
    if (!(rest[pivot]! > tolerance)) break
    if (pivot !== k) {
      swap(order, k, pivot)
      swap(rows, k, pivot)
      swap(rest, k, pivot)
    }
    const own = rows[k]!
    const diagonal = Math.sqrt(rest[k]!)
    own[k] = diagonal
    const base = order[k]! * n
    for (let i = k + 1; i < n; i++) {
      const row = rows[i]!
      const value = (a.data[base + order[i]!]! - dot(row, own, k)) / diagonal
      row[k] = value
      rest[i]! -= value * value
    }
    rank++
  }
  const out = new Float64Array(n * rank)
  for (let i = 0; i < n; i++) out.set(rows[i]!.subarray(0, rank), order[i]! * rank)
  return { rows: n, columns: rank, data: out }
}

function swap(values: { [index: number]: unknown }, i: number, j: number): void {
  const held = values[i]
  values[i] = values[j]
  values[j] = held
}

function dot(a: Float64Array, b: Float64Array, length: number): number {
  let s0 = 0
  let s1 = 0
  let s2 = 0
  let s3 = 0
  let i = 0
  for (; i + 3 < length; i += 4) {
    s0 += a[i]! * b[i]!
    s1 += a[i + 1]! * b[i + 1]!
    s2 += a[i + 2]! * b[i + 2]!
    s3 += a[i + 3]! * b[i + 3]!
  }
  for (; i < length; i++) s0 += a[i]! * b[i]!
  return s0 + s1 + (s2 + s3)
}
