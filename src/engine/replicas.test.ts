import { expect, it } from 'vitest'
import { createReplicas, replicaCount } from './replicas.js'
import type { RunResult, Session } from './session.js'

/** Doubles every value, and notes how many rows each run has. */
function doubling(seen: number[], seconds = 1): Session {
  return {
    settings: { path: '', providers: ['cpu'], threads: 1 },
    run: async (inputs): Promise<RunResult> => {
      const { data, dims } = inputs.x!
      seen.push(dims[0]!)
      const y = { data: Float32Array.from(data as Float32Array, (value) => 2 * value), dtype: 'float32', dims }
      return { outputs: { y }, seconds }
    },
    close: async () => {},
  }
}
const input = (rows: number) => ({
  x: { data: Float32Array.from({ length: rows * 3 }, (_, i) => i), dtype: 'float32', dims: [rows, 3] },
})
const doubled = (rows: number) => Float32Array.from({ length: rows * 3 }, (_, i) => 2 * i)

it('rows are dealt as evenly as they go, and come back in their order', async () => {
  for (const [rows, each] of [
    [6, [2, 2, 2]],
    [7, [2, 2, 3]],
    [2, [1, 1]],
    [1, [1]],
  ] as const) {
    const seen: number[] = []
    const session = createReplicas([doubling(seen), doubling(seen, 3), doubling(seen)])
    const { outputs, seconds } = await session.run(input(rows))
    expect(seen, String(rows)).toEqual(each)
    expect(outputs.y!.dims).toEqual([rows, 3])
    expect(outputs.y!.data).toEqual(doubled(rows))
    expect(seconds).toBe(rows === 1 ? 1 : 3)
  }
})

it('parts have the least number of rows, or there is one part', async () => {
  for (const [rows, each] of [
    [1, [1]],
    [3, [3]],
    [5, [2, 3]],
    [6, [2, 2, 2]],
  ] as const) {
    const seen: number[] = []
    const session = createReplicas([doubling(seen), doubling(seen), doubling(seen)], 2)
    expect((await session.run(input(rows))).outputs.y!.data).toEqual(doubled(rows))
    expect(seen, String(rows)).toEqual(each)
  }
})

it('a run with few rows goes where nothing waits', async () => {
  const [first, second]: number[][] = [[], []]
  const session = createReplicas([doubling(first!), doubling(second!)])
  await Promise.all([session.run(input(1)), session.run(input(1)), session.run(input(1))])
  expect([first!.length, second!.length]).toEqual([2, 1])
})

it('every thread has work, and the weights of all sessions fit', () => {
  const GiB = 2 ** 30
  const count = (threads: number, rows: number, weights: number, memory = 32) =>
    replicaCount({ threads, rows, weightBytes: weights * GiB }, memory * GiB)
  expect(count(2, 4, 0.3)).toBe(2)
  expect(count(1, 4, 0.3)).toBe(1)
  // A single image has all threads.
  expect(count(8, 1, 0.3)).toBe(1)
  expect(replicaCount({ threads: 8, rows: 5, least: 2, weightBytes: 1 }, GiB)).toBe(2)
  // A divisor of the threads: none is left over.
  expect(count(6, 64, 1)).toBe(3)
  expect(count(7, 64, 1)).toBe(1)
  expect(count(7, 64, 0.01)).toBe(7)
  expect(count(2, 4, 1.2, 8)).toBe(1)
  expect(count(64, 64, 0.01)).toBe(16)
})
