import fc from 'fast-check'
import { expect, it } from 'vitest'
import { createByteLimiter } from './byte-limit.js'

it('everything runs, in order, and never holds more than the limit, but for one that is larger alone', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(150), { maxLength: 40 }), async (sizes) => {
      const limit = createByteLimiter(100)
      const order: number[] = []
      let held = 0
      let running = 0
      await Promise.allSettled(
        sizes.map((bytes, i) =>
          limit(bytes, async () => {
            order.push(i)
            held += bytes
            running++
            expect(held <= 100 || running === 1).toBe(true)
            for (let turn = 0; turn < bytes % 5; turn++) await new Promise((resolve) => setImmediate(resolve))
            held -= bytes
            running--
            if (i % 3 === 0) throw new Error('x')
          }),
        ),
      )
      expect(order).toEqual([...sizes.keys()])
    }),
    { numRuns: 50 },
  )
})
