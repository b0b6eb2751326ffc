import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { planRows } from './evaluate.js'
import { planBatches } from './job.js'
import { timeGrid } from './schedule.js'

const guidance = { scale: 2, intervalStart: 0.125, nullLabel: 1000 }

describe('rows of the transformer', () => {
  it('a sample below the interval takes one row, any other two', () => {
    const plan = planRows([3, 4], [0.1, 0.2], guidance, false)
    expect(plan).toEqual({ rows: [0, 1, 1], labels: [3, 4, 1000], uncond: [0, 2], pair: [0, 2] })
    expect(planRows([3, 4], [0.125, 0], guidance, false).rows).toEqual([0, 1, 0])
  })

  it('without guidance there is nothing but the samples', () => {
    const plan = planRows([3, 4], [0.5, 0.5], undefined, true)
    expect(plan).toEqual({ rows: [0, 1], labels: [3, 4], uncond: [0, 1], pair: [0, 1] })
  })

  it('the adaptive solver sees the unconditional half at any time', () => {
    const plan = planRows([3], [0], guidance, true)
    expect(plan).toEqual({ rows: [0, 0], labels: [3, 1000], uncond: [0], pair: [1] })
  })
})

describe('batches of a unit', () => {
  it('hold every missing sample once, in order, in whole groups, within the batch size where a group allows', () => {
    fc.assert(
      fc.property(
        fc.nat(1000),
        fc.integer({ min: 1, max: 60 }),
        fc.integer({ min: 1, max: 6 }),
        fc.integer({ min: 1, max: 12 }),
        fc.array(fc.boolean(), { minLength: 60, maxLength: 60 }),
        (first, rows, group, batchSize, there) => {
          const batches = planBatches(first, rows, group, batchSize, (index) => there[index - first]!)
          const all = batches.flat()
          expect(all).toEqual([...all].sort((a, b) => a - b))
          for (let i = 0; i < rows; i++) if (!there[i]) expect(all).toContain(first + i)
          for (const batch of batches) expect(batch.length).toBeLessThanOrEqual(Math.max(batchSize, group))
          for (const index of all) {
            const start = Math.floor((index - first) / group) * group
            const members = Array.from({ length: Math.min(group, rows - start) }, (_, i) => first + start + i)
            expect(batches.find((batch) => batch.includes(index))).toEqual(expect.arrayContaining(members))
          }
        },
      ),
    )
  })
})

describe('the grid of times', () => {
  it('runs from 0 to 1 and rises', () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 400 }), fc.double({ min: 0.05, max: 1, noNaN: true }), (steps, shift) => {
        const grid = timeGrid(steps, shift)
        expect(grid[0]).toBe(0)
        expect(Math.abs(grid[steps - 1]! - 1)).toBeLessThan(1e-5)
        for (let i = 1; i < steps; i++) expect(grid[i]!).toBeGreaterThan(grid[i - 1]!)
      }),
    )
  })

  it('needs two points', () => {
    for (const steps of [1, 0, -3, 2.5]) expect(() => timeGrid(steps, 0)).toThrow(/at least 2/)
  })
})
