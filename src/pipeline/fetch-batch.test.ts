import { expect, it } from 'vitest'
import { VtpError } from '../errors.js'
import { type ListingEntry, RejectError, type Source } from '../types.js'
import type { BatchJob } from './stream/batch.js'
import { fetchBatch, listedBytes } from './stream/batches.js'
import { createMeter } from './stream/meter.js'

const widths = { preprocess: 1, encode: 1, write: 1 }
const meter = createMeter({ total: 1, doneBefore: 0, unitsBefore: 0, unitsTotal: 1, widths })
const denied = new VtpError('access is denied', { code: 's3_access_denied' })

function batchOf(refused: boolean[]): { batch: BatchJob; source: Source } {
  const entries = refused.map((_, i): ListingEntry => ({ key: `${i}`, uri: `s3://b/${i}`, at: { kind: 'text' } }))
  const source: Source = {
    kind: 'list',
    uri: 'list',
    passedOver: { count: 0, examples: [] },
    notes: [],
    async *list() {
      yield* entries
    },
    async read({ key }) {
      if (refused[Number(key)]) throw new RejectError('unreadable', 'read', 'access is denied', denied)
      return new Uint8Array(1)
    },
    close: async () => {},
  }
  const unit = { rows: entries.length, offset: 0, bytes: 1 } as BatchJob['job']['unit']
  return { batch: { job: { index: 0, unit, isolated: false }, start: 0, entries, last: true }, source }
}

it('one image that is refused is a reject, a whole batch of them stops the run', async () => {
  const some = batchOf([true, true, true, false])
  const { sources } = await fetchBatch(some.batch, { source: some.source, meter, stopWhenRefused: true })
  expect(sources.filter((item) => !(item instanceof Uint8Array))).toHaveLength(3)
  const all = batchOf([true, true, true, true])
  await expect(fetchBatch(all.batch, { source: all.source, meter, stopWhenRefused: true })).rejects.toBe(denied)
  // Rejects that are tried again may well be refused again.
  expect((await fetchBatch(all.batch, { source: all.source, meter })).sources).toHaveLength(4)
})

it('a batch holds 64 MiB of source bytes at most: what is beyond is read when its turn comes', async () => {
  const { batch, source } = batchOf([false, false, false, false])
  const mebibyte = 2 ** 20
  batch.entries = [60, 5, 3, 200].map((size, i) => ({
    key: `${i}`,
    uri: `${i}`,
    at: { kind: 'file', path: `/${i}`, size: size * mebibyte },
  }))
  const { sources } = await fetchBatch(batch, { source, meter })
  expect(sources.map((item) => ('read' in item ? item.bytes / mebibyte : 'here'))).toEqual(['here', 5, 'here', 200])
  for (const item of sources) if ('read' in item) expect(await item.read()).toEqual(new Uint8Array(1))
  expect(listedBytes(batch)).toBe(64 * mebibyte)
})
