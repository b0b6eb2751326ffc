import { expect, it } from 'vitest'
import { VtpError } from '../errors.js'
import { createBatching, isOutOfMemory } from './batching.js'
import type { RunResult, Session } from './session.js'
import { createPool } from './session-pool.js'

/** Doubles every value; refuses more rows than fit. */
function doubling(fits: number, seen: number[] = []): Session {
  return {
    settings: { path: '', providers: ['cuda:0'], threads: 1 },
    run: async (inputs): Promise<RunResult> => {
      const { data, dims } = inputs.x!
      seen.push(dims[0]!)
      if (dims[0]! > fits) {
        throw new VtpError('The engine failed: CUDA failure 2: out of memory', { code: 'engine_run_failed' })
      }
      const y = { data: Float32Array.from(data as Float32Array, (value) => 2 * value), dtype: 'float32', dims }
      return { outputs: { y }, seconds: 1 }
    },
    close: async () => {},
  }
}
const input = (rows: number) => ({
  x: { data: Float32Array.from({ length: rows * 3 }, (_, i) => i), dtype: 'float32', dims: [rows, 3] },
})

it('every run has the same number of rows, and padding never shows', async () => {
  const seen: number[] = []
  const session = createBatching(doubling(100, seen), { rows: 4 })
  const { outputs } = await session.run(input(10))
  expect(seen).toEqual([4, 4, 4])
  expect(outputs.y!.dims).toEqual([10, 3])
  expect(outputs.y!.data).toEqual(Float32Array.from({ length: 30 }, (_, i) => 2 * i))
})

it('out of memory makes batches smaller for good, and loses no row', async () => {
  const seen: number[] = []
  const notes: number[] = []
  const session = createBatching(doubling(3, seen), { rows: 8, onSmaller: (rows) => notes.push(rows) })
  expect((await session.run(input(5))).outputs.y!.data).toEqual(Float32Array.from({ length: 15 }, (_, i) => 2 * i))
  await session.run(input(2))
  expect(seen).toEqual([8, 4, 2, 2, 2, 2])
  expect(notes).toEqual([4, 2])
})

it('a device that cannot take one row fails, and other errors pass at once', async () => {
  await expect(createBatching(doubling(0), { rows: 4 }).run(input(1))).rejects.toThrow('out of memory')
  const broken: Session = {
    ...doubling(1),
    run: () => Promise.reject(new VtpError('The engine failed: bad shape', { code: 'engine_run_failed' })),
  }
  await expect(createBatching(broken, { rows: 4 }).run(input(1))).rejects.toThrow('bad shape')
  expect(
    isOutOfMemory(new VtpError('Failed to allocate memory for requested buffer', { code: 'engine_run_failed' })),
  ).toBe(true)
})

it('runs of several sessions go to the one with the fewest waiting', async () => {
  const [first, second]: number[][] = [[], []]
  const pool = createPool([doubling(9, first), doubling(9, second)])
  await Promise.all([pool.run(input(1)), pool.run(input(2)), pool.run(input(3))])
  expect([first, second]).toEqual([[1, 3], [2]])
})
