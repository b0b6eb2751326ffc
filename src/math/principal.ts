/**
 * The first principal components of rows, by orthogonal iteration on the centred data: no covariance matrix is
 * made. Always the same for the same rows: it starts from fixed directions, and each component points to the side of
 * its largest weight.
 */
import { createRandom } from './random.js'

const ITERATIONS = 60

/** float32 [N, D] → float64 [N, count]: the rows' places along the components, the strongest first. */
export function principalScores(rows: Float32Array, dim: number, count: number): Float64Array {
  const n = rows.length / dim
  const centred = centre(rows, n, dim)
  const random = createRandom(0)
  const basis = Array.from({ length: count }, () => Float64Array.from({ length: dim }, () => random.next() - 0.5))
  orthonormalise(basis)
  const project = (direction: Float64Array): Float64Array => {
    const out = new Float64Array(n)
    for (let i = 0, at = 0; i < n; i++) {
      let sum = 0
      for (let j = 0; j < dim; j++) sum += centred[at++]! * direction[j]!
      out[i] = sum
    }
    return out
  }
  for (let step = 0; step < ITERATIONS; step++) {
    for (const direction of basis) {
      const scores = project(direction)
      direction.fill(0)
      for (let i = 0, at = 0; i < n; i++) for (let j = 0; j < dim; j++) direction[j]! += centred[at++]! * scores[i]!
    }
    orthonormalise(basis)
  }
  const out = new Float64Array(n * count)
  basis.forEach((direction, c) => {
    const largest = direction.reduce((best, value) => (Math.abs(value) > Math.abs(best) ? value : best), 0)
    const sign = largest < 0 ? -1 : 1
    project(direction).forEach((score, i) => {
      out[i * count + c] = sign * score
    })
  })
  return out
}

function centre(rows: Float32Array, n: number, dim: number): Float64Array {
  const means = new Float64Array(dim)
  for (let i = 0; i < rows.length; i++) means[i % dim]! += rows[i]! / n
  return Float64Array.from(rows, (value, i) => value - means[i % dim]!)
}

/** Gram–Schmidt. A direction in which the rows do not differ becomes zero. */
function orthonormalise(basis: Float64Array[]): void {
  for (const [k, direction] of basis.entries()) {
    for (const before of basis.slice(0, k)) {
      const overlap = direction.reduce((sum, value, j) => sum + value * before[j]!, 0)
      for (let j = 0; j < direction.length; j++) direction[j]! -= overlap * before[j]!
    }
    const length = Math.sqrt(direction.reduce((sum, value) => sum + value * value, 0))
    for (let j = 0; j < direction.length; j++) direction[j] = length > 1e-12 ? direction[j]! / length : 0
  }
}
