import { setImmediate as tick } from 'node:timers/promises'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { prefetch } from './prefetch.js'

async function* count(to: number): AsyncGenerator<number> {
  for (let i = 0; i < to; i++) yield i
}
let clock = 0
/** So many turns of the event loop, each a millisecond of the clock: nothing depends on how fast the machine is. */
async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    await tick()
    clock++
  }
}
const sizes = { min: 2, max: 32, maxBytes: 1e9, sizeOf: () => 1, now: () => clock }

it('keeps the order whatever takes how long, and gives every item once', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 40 }), async (delays) => {
      const out: number[] = []
      const fetch = async (i: number): Promise<number> => {
        await turns(delays[i]!)
        return i
      }
      for await (const item of prefetch(count(delays.length), fetch, sizes)) out.push(item)
      expect(out).toEqual(delays.map((_, i) => i))
    }),
    { numRuns: 30 },
  )
})

it('goes further ahead when the consumer starves, up to its bound, and not when everything is near', async () => {
  const mostInFlight = async (latency: number, work: number): Promise<number> => {
    let active = 0
    let most = 0
    const fetch = async (i: number): Promise<number> => {
      most = Math.max(most, ++active)
      await turns(latency)
      active--
      return i
    }
    for await (const _ of prefetch(count(80), fetch, sizes)) await turns(work)
    return most
  }
  const far = await mostInFlight(60, 0)
  expect(far).toBeGreaterThan(24)
  expect(far).toBeLessThanOrEqual(32)
  expect(await mostInFlight(0, 1)).toBeLessThanOrEqual(2)
})

it('holds no more bytes than it may, and one item more', async () => {
  let held = 0
  let most = 0
  const fetch = async (i: number): Promise<number> => {
    await turns(5)
    most = Math.max(most, ++held)
    return i
  }
  for await (const _ of prefetch(count(60), fetch, { ...sizes, max: 1000, maxBytes: 4 })) held--
  expect(most).toBeLessThanOrEqual(8)
})

it('takes room for an item before it is fetched: all in flight at once are no more than may be held', async () => {
  let held = 0
  let most = 0
  const fetch = async (i: number): Promise<number> => {
    held += 3
    most = Math.max(most, held)
    await turns(10)
    return i
  }
  const options = { ...sizes, min: 16, sizeOf: () => 3, maxBytes: 9, expectedSize: () => 3 }
  for await (const _ of prefetch(count(40), fetch, options)) held -= 3
  expect(most).toBeLessThanOrEqual(9 + 3) // the one that is being taken
})

it('ends with the error of the first item that failed, after those before it, and leaves nothing running', async () => {
  let active = 0
  const fetch = async (i: number): Promise<number> => {
    active++
    await turns(i === 5 ? 1 : 10)
    active--
    if (i === 5) throw new Error('item 5')
    return i
  }
  const out: number[] = []
  await expect(async () => {
    for await (const item of prefetch(count(20), fetch, sizes)) out.push(item)
  }).rejects.toThrow('item 5')
  expect(out).toEqual([0, 1, 2, 3, 4])
  expect(active).toBe(0)
})

it('a consumer that stops early stops the source', async () => {
  let closed = false
  async function* endless(): AsyncGenerator<number> {
    try {
      for (let i = 0; ; i++) yield i
    } finally {
      closed = true
    }
  }
  for await (const item of prefetch(endless(), async (i) => i, sizes)) if (item === 3) break
  expect(closed).toBe(true)
})
