import fc from 'fast-check'
import { expect, it } from 'vitest'
import { createExternalSorter } from './external-sort.js'

async function sortAll(records: Buffer[], runRecords: number): Promise<Buffer[]> {
  const sorter = createExternalSorter(runRecords)
  try {
    for (const record of records) await sorter.add(record)
    const out: Buffer[] = []
    for await (const record of sorter.sorted()) out.push(Buffer.from(record))
    expect(sorter.count).toBe(records.length)
    return out
  } finally {
    await sorter.close()
  }
}

it('sorts like an array in memory, whatever the run size, duplicates included', async () => {
  const record = fc.uint8Array({ maxLength: 6 }).map((bytes) => Buffer.from(bytes))
  await fc.assert(
    fc.asyncProperty(
      fc.array(record, { maxLength: 60 }),
      fc.integer({ min: 1, max: 20 }),
      async (records, runRecords) => {
        expect(await sortAll(records, runRecords)).toEqual([...records].sort(Buffer.compare))
      },
    ),
    { numRuns: 60 },
  )
})

it('merges long runs across read buffers', async () => {
  const records = Array.from({ length: 20_000 }, (_, i) => Buffer.from(`${(i * 7919) % 20_000}`.padStart(40, '0')))
  const out = await sortAll(records, 3000)
  expect(out.map(String)).toEqual(records.map(String).sort())
})
