/** The log of a training when it is taken up again. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import fc from 'fast-check'
import { afterAll, expect, it } from 'vitest'
import { openLog } from './log.js'

const dir = mkdtempSync(path.join(tmpdir(), 'vtp-log-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

/** Notes when a log of these steps is taken up after step `last`. */
async function notes(steps: number[], last: number, after = 0): Promise<string[]> {
  const file = path.join(dir, 'log.jsonl')
  writeFileSync(file, steps.map((step) => `{"step":${step}}\n`).join(''))
  const told: string[] = []
  const log = await openLog(file, last, { after, onNote: (line) => told.push(line) })
  await log.close()
  const kept = steps.filter((step) => step <= last)
  expect(readFileSync(file, 'utf8')).toBe(kept.map((step) => `{"step":${step}}\n`).join(''))
  return told
}

it('a whole log is nothing to tell of, also one that goes on from a start, or is cut back', async () => {
  expect(await notes([1, 2, 3], 3)).toEqual([])
  expect(await notes([1, 2, 3, 4, 5], 3)).toEqual([])
  expect(await notes([8, 9], 9, 7)).toEqual([])
  expect(await notes([], 0)).toEqual([])
})

it('lines that were taken out are named by their steps, and the others stay', async () => {
  expect(await notes([1, 2, 4, 5], 5)).toEqual([expect.stringContaining('log.jsonl has no line of step 3.')])
  expect((await notes([3, 6, 7], 9))[0]).toContain('no line of steps 1 to 2, 4 to 5, 8 to 9.')
  expect((await notes([], 4))[0]).toContain('no line of steps 1 to 4.')
  expect((await notes([2, 4, 6, 8, 10, 12, 14], 14))[0]).toContain('no line of steps 1, 3, 5, 7, 9, ….')
})

it('lines that are there twice or in another order are told of', async () => {
  for (const steps of [
    [1, 2, 2, 3],
    [1, 3, 2],
  ])
    expect((await notes(steps, 3))[0]).toContain('does not hold every step once and in order')
})

it('nothing is told of exactly where every step is there once and in order', async () => {
  const steps = fc.array(fc.integer({ min: 1, max: 6 }), { maxLength: 8 })
  await fc.assert(
    fc.asyncProperty(steps, async (given) => {
      const whole = given.filter((step) => step <= 4).join() === '1,2,3,4'
      expect(await notes(given, 4)).toHaveLength(whole ? 0 : 1)
    }),
  )
})
