/**
 * Pivoted Cholesky of a symmetric positive semidefinite matrix: P·A·Pᵀ = L·Lᵀ, stopped at the numerical
 * rank, as LAPACK's dpstrf does (tolerance n · epsilon · largest diagonal element; Higham 1990).
 * Left-looking by rows: a column of L is A's column less the product of the rows so far with one of them.
 */
import { openWorkspace } from './kernels.js'
import type { Matrix } from './matrix.js'

/** G [rank, n] with Gᵀ·G = A, columns in A's own order. */
export function pivotedCholesky(a: Matrix): Matrix {
  const n = a.rows
  const order = Int32Array.from({ length: n }, (_, i) => i)
  const { row, vectors, multiply } = openWorkspace(n, 2) // rows of L, in pivoted order
  const rows = Array.from({ length: n }, (_, i) => row(i))
  const [own, products] = vectors as [Float64Array, Float64Array]
  const rest = new Float64Array(n)
  for (let i = 0; i < n; i++) rest[i] = a.data[i * n + i]!
  const tolerance = n * Number.EPSILON * rest.reduce((max, value) => Math.max(max, value), 0)
  let rank = 0
  for (let k = 0; k < n; k++) {
    let pivot = k
    for (let i = k + 1; i < n; i++) if (rest[i]! > rest[pivot]!) pivot = i
    if (!(rest[pivot]! > tolerance)) break
    own.set(rows[pivot]!)
    if (pivot !== k) {
      rows[pivot]!.set(rows[k]!)
      rows[k]!.set(own)
      swap(order, k, pivot)
      swap(rest, k, pivot)
    }
    multiply(k + 1, 0, k, 1)
    const diagonal = Math.sqrt(rest[k]!)
    rows[k]![k] = diagonal
    const base = order[k]! * n
    for (let i = k + 1; i < n; i++) {
      const value = (a.data[base + order[i]!]! - products[i]!) / diagonal
      rows[i]![k] = value
      rest[i]! -= value * value
    }
    rank++
  }
  const out = new Float64Array(rank * n)
  for (let i = 0; i < n; i++) for (let k = 0; k < rank; k++) out[k * n + order[i]!] = rows[i]![k]!
  return { rows: rank, columns: n, data: out }
}

function swap(values: { [index: number]: unknown }, i: number, j: number): void {
  const held = values[i]
  values[i] = values[j]
  values[j] = held
}
