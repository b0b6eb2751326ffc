import { describe, expect, it } from 'vitest'
import { curve } from './report-curve.js'

const heights = (svg: string): number[] =>
  [...svg.matchAll(/<circle cx="[\d.]+" cy="([\d.]+)"/g)].map(([, y]) => Number(y))

describe('a curve of a report', () => {
  const points = [1e6, 1e3, 1].map((y, i) => ({ x: i + 1, y }))

  it('has decades of the same height with log, and the values themselves beside the lines', () => {
    const svg = curve('Norm', '', points, { dots: true, log: true })
    const [a, b, c] = heights(svg) as [number, number, number]
    expect(b - a).toBeCloseTo(c - b, 1)
    expect([...svg.matchAll(/text-anchor="end">([^<]+)<\/text>/g)].map(([, text]) => text)).toEqual(
      expect.arrayContaining(['1', '1000', '1.0e+6']),
    )
  })

  it('is linear where a value is 0, which has no logarithm', () => {
    const zero = [...points, { x: 4, y: 0 }]
    expect(curve('Norm', '', zero, { dots: true, log: true })).toBe(curve('Norm', '', zero, { dots: true }))
  })
})
