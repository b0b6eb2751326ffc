import { setImmediate } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { createLimiter } from '../../async/stages.js'
import type { PixelPool } from '../../image/pool/pool.js'
import type { ListingEntry, Source } from '../../types.js'
import { createPixelBuffers, fetchBatch, fetchedBytes, prepareBatch, runViews } from './batches.js'
import { createMeter } from './meter.js'

const MIB = 2 ** 20

it('a batch of large files holds no more source bytes than it may: the rest is read when its turn comes', async () => {
  const count = 24
  const size = 30 * MIB
  const entries = Array.from({ length: count }, (_, i): ListingEntry => {
    return { key: `${i}`, uri: `${i}`, at: { kind: 'range', path: 'a.tar', offset: i * size, size } }
  })
  const widths = { read: 1, preprocess: 1, encode: 1, write: 1 }
  const meter = createMeter({ total: count, doneBefore: 0, unitsBefore: 0, unitsTotal: 1, widths })
  let [held, most] = [0, 0]
  const source = {
    async read() {
      held += size
      most = Math.max(most, held)
      await setImmediate()
      return new Uint8Array(8)
    },
  } as unknown as Source
  const job = { index: 0, unit: { rows: count, offset: 0, bytes: 0 }, isolated: false }
  const fetched = await fetchBatch({ job, start: 0, entries, last: true }, { source, meter })
  // What is read at once is kept until the batch is prepared.
  expect(held).toBe(2 * size)
  expect(fetchedBytes(fetched)).toBe(2 * 8)
  const pool = {
    capacity: 4,
    async run() {
      await setImmediate()
      held -= size
      return { width: 1, height: 1, sha256: new Uint8Array(32), pictures: [] }
    },
  } as unknown as PixelPool
  const batch = await prepareBatch(fetched, {
    pool: () => pool,
    limit: createLimiter(4),
    views: runViews('resize(1,1,bilinear)', false),
    limits: { maxPixels: 1, timeoutMs: 1 },
    buffers: createPixelBuffers(count, 3, false),
    meter,
  })
  expect([batch.rows.length, held]).toEqual([count, 0])
  expect(most).toBeLessThanOrEqual(2 * size + 256 * MIB)
  expect(most).toBeGreaterThan(2 * size)
})
