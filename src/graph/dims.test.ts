import fc from 'fast-check'
import { expect, it } from 'vitest'
import { addDims, ceilDivideDim, type Dim, divideDims, floorDivideDim, multiplyDims, subtractDims } from './dims.js'

/** The number that a size has for given symbols; zero has no sign. */
function evaluate(dim: Dim, symbols: Record<string, number>): number {
  if (typeof dim === 'number') return dim
  const names = Object.keys(symbols)
  const text = dim.replace(/floor/g, 'Math.floor')
  return Function(...names, `return ${text}`)(...names.map((name) => symbols[name])) + 0
}

const symbols = fc.record({ N: fc.integer({ min: 1, max: 50 }), H: fc.integer({ min: 1, max: 50 }) })
const dims: fc.Arbitrary<Dim> = fc.letrec<{ dim: Dim }>((tie) => ({
  dim: fc.oneof(
    { maxDepth: 4 },
    fc.integer({ min: 0, max: 9 }),
    fc.constantFrom('N', 'H'),
    fc.tuple(tie('dim'), tie('dim')).map(([a, b]) => addDims(a, b)),
    fc.tuple(tie('dim'), tie('dim')).map(([a, b]) => multiplyDims(a, b)),
    fc.tuple(tie('dim'), fc.integer({ min: 1, max: 5 })).map(([a, n]) => floorDivideDim(a, n)),
  ),
})).dim

it('sizes that hold symbols add, subtract, multiply and divide as their numbers do', () => {
  fc.assert(
    fc.property(dims, dims, fc.integer({ min: 1, max: 7 }), symbols, (a, b, n, values) => {
      const [x, y] = [evaluate(a, values), evaluate(b, values)]
      expect(evaluate(addDims(a, b), values)).toBe(x + y)
      expect(evaluate(subtractDims(a, b), values)).toBe(x - y)
      expect(evaluate(multiplyDims(a, b), values)).toBe(x * y)
      expect(evaluate(floorDivideDim(a, n), values)).toBe(Math.floor(x / n))
      expect(evaluate(ceilDivideDim(a, n), values)).toBe(Math.ceil(x / n))
      if (b !== 0) {
        expect(divideDims(multiplyDims(a, b), b)).toEqual(a)
        const quotient = divideDims(a, b)
        if (quotient !== undefined) expect(evaluate(quotient, values) * y).toBe(x)
      }
    }),
  )
})

it('equal sizes are equal texts, however they came about', () => {
  expect(addDims(multiplyDims('N', 257), multiplyDims('H', 'N'))).toBe(
    addDims(multiplyDims('N', 'H'), multiplyDims(257, 'N')),
  )
  expect(divideDims(multiplyDims('N', 257), 257)).toBe('N')
  expect(subtractDims(addDims('R', 1), 1)).toBe('R')
  expect(divideDims('N', 2)).toBeUndefined()
})
