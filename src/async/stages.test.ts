import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createLimiter, mapOrdered, untilStopped } from './stages.js'

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const out: T[] = []
  for await (const item of items) out.push(item)
  return out
}

describe('mapOrdered', () => {
  it('keeps the input order whatever the calls take, and never has more than depth outstanding', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.nat(3), { maxLength: 40 }),
        fc.integer({ min: 1, max: 6 }),
        async (delays, depth) => {
          let running = 0
          let most = 0
          const results = mapOrdered(delays.entries(), depth, async ([i, delay]) => {
            most = Math.max(most, ++running)
            await sleep(delay)
            running--
            return i
          })
          expect(await collect(results)).toEqual([...delays.keys()])
          expect(most).toBeLessThanOrEqual(depth)
        },
      ),
      { numRuns: 30 },
    )
  })

  it('ends with the first error in input order, after the calls in flight have settled', async () => {
    let settled = 0
    const results = mapOrdered([0, 1, 2, 3], 4, async (i) => {
      await sleep(i === 1 ? 1 : 20)
      settled++
      if (i === 1) throw new Error('one')
      return i
    })
    await expect(collect(results)).rejects.toThrow('one')
    expect(settled).toBe(4)
  })

  it('stops pulling its input when the consumer leaves', async () => {
    let pulled = 0
    async function* numbers(): AsyncGenerator<number> {
      for (;;) yield pulled++
    }
    for await (const n of mapOrdered(numbers(), 3, async (i) => i)) if (n === 5) break
    expect(pulled).toBeLessThanOrEqual(10)
  })
})

describe('createLimiter', () => {
  it('runs everything and never more than its limit at once, errors included', async () => {
    const limit = createLimiter(3)
    let running = 0
    let most = 0
    const results = await Promise.allSettled(
      Array.from({ length: 50 }, (_, i) =>
        limit(async () => {
          most = Math.max(most, ++running)
          await sleep(1)
          running--
          if (i % 7 === 0) throw new Error('x')
          return i
        }),
      ),
    )
    expect(most).toBe(3)
    expect(results.filter((r) => r.status === 'fulfilled')).toHaveLength(42)
  })
})

it('passes nothing on after the stop, and no error that comes of it', async () => {
  const stop = new AbortController()
  const out: number[] = []
  async function* input(): AsyncGenerator<number> {
    yield 1
    yield 2
    stop.abort()
    stop.signal.throwIfAborted()
  }
  for await (const item of untilStopped(input(), stop.signal)) out.push(item)
  expect(out).toEqual([1, 2])
})
