import { describe, expect, it } from 'vitest'
import { createRandom } from '../../math/random.js'
import { pivotedCholesky } from './cholesky.js'
import { symmetricEigenvalues } from './eigenvalues.js'
import type { Matrix } from './matrix.js'

/** H·diag(values)·H with the reflection H = I − 2w·wᵀ: a full matrix whose eigenvalues are known. */
function matrixWith(values: number[], seed: number): Matrix {
  const n = values.length
  const random = createRandom(seed)
  const w = Array.from({ length: n }, () => random.normal())
  const length = Math.hypot(...w)
  const h = (i: number, j: number): number => (i === j ? 1 : 0) - (2 * w[i]! * w[j]!) / length ** 2
  const data = new Float64Array(n * n)
  for (let i = 0; i < n; i++)
    for (let j = 0; j < n; j++) for (let k = 0; k < n; k++) data[i * n + j]! += h(i, k) * values[k]! * h(k, j)
  return { rows: n, columns: n, data }
}

const SIZES = [1, 2, 3, 4, 5, 7, 8, 33, 66]

describe('factorisations of symmetric matrices of any size', () => {
  it.each(SIZES)('eigenvalues come out ascending, negative, double and zero ones too: %i', (n) => {
    const values = Array.from({ length: n }, (_, i) => [3, -2, 0, 3, 1e-3 * i][i % 5]!)
    const found = symmetricEigenvalues(matrixWith(values, n))
    const wanted = [...values].sort((a, b) => a - b)
    for (let i = 0; i < n; i++) expect(Math.abs(found[i]! - wanted[i]!)).toBeLessThan(1e-13)
  })

  it('a diagonal matrix keeps its eigenvalues exactly', () => {
    const data = new Float64Array(36)
    for (let i = 0; i < 6; i++) data[i * 7] = 10 - i
    expect([...symmetricEigenvalues({ rows: 6, columns: 6, data })]).toEqual([5, 6, 7, 8, 9, 10])
  })

  it.each(SIZES)('Cholesky stops at the rank, and its factor gives the matrix back: %i', (n) => {
    const values = Array.from({ length: n }, (_, i) => (i % 3 === 2 ? 0 : 1 + i))
    const a = matrixWith(values, n)
    const g = pivotedCholesky(a)
    expect(g.rows).toBe(values.filter((value) => value > 0).length)
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++) {
        let sum = 0
        for (let k = 0; k < g.rows; k++) sum += g.data[k * n + i]! * g.data[k * n + j]!
        expect(Math.abs(sum - a.data[i * n + j]!)).toBeLessThan(1e-12 * n)
      }
    }
  })
})
