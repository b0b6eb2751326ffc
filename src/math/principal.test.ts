import { expect, it } from 'vitest'
import { principalScores } from './principal.js'
import { createRandom } from './random.js'

it('finds the directions that rows were made of, the strongest first', () => {
  const random = createRandom(3)
  const directions = [
    [0.6, 0.8, 0, 0],
    [0, 0, 1, 0],
  ]
  const made = Array.from({ length: 200 }, () => [(random.next() - 0.5) * 10, (random.next() - 0.5) * 3])
  const rows = Float32Array.from(
    made.flatMap(([a, b]) => [0, 1, 2, 3].map((j) => 7 + a! * directions[0]![j]! + b! * directions[1]![j]!)),
  )
  const scores = principalScores(rows, 4, 3)
  for (const c of [0, 1]) {
    const mean = made.reduce((sum, row) => sum + row[c]!, 0) / made.length
    made.forEach((row, i) => {
      expect(Math.abs(scores[i * 3 + c]! - (row[c]! - mean))).toBeLessThan(0.15)
    })
  }
  // There is no third direction.
  for (let i = 0; i < made.length; i++) expect(Math.abs(scores[i * 3 + 2]!)).toBeLessThan(1e-4)
})

it('rows that are all the same have no components, and no NaN', () => {
  expect([...principalScores(new Float32Array(12).fill(2), 3, 3)]).toEqual(new Array(12).fill(0))
})
