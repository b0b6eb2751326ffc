/** Arrow shards, record batch by record batch. */
import { open } from 'node:fs/promises'
import { RecordBatchReader } from 'apache-arrow'
import { VtpError } from '../../errors.js'
import { fromRecordBatch, pick, slices, tensorColumns } from './record-batches.js'
import type { Shard } from './types.js'

export async function openArrow(file: string): Promise<Shard> {
  const handle = await open(file)
  try {
    const reader = await RecordBatchReader.from(handle)
    await reader.open()
    if (!reader.isFile()) throw new VtpError(`${file} is no Arrow IPC file`, { code: 'bad_shard' })
    const { schema } = reader
    const columns = tensorColumns(schema)
    let rows = 0
    for (let i = 0; i < reader.numRecordBatches; i++) rows += (await reader.readRecordBatch(i))?.numRows ?? 0
    return {
      path: file,
      rows,
      columns,
      provenance: Object.fromEntries(schema.metadata),
      async *read(names, batchRows) {
        const wanted = pick(columns, names, file)
        for (let i = 0; i < reader.numRecordBatches; i++) {
          const batch = await reader.readRecordBatch(i)
          if (batch) yield* slices(fromRecordBatch(batch, wanted), wanted, batchRows)
        }
      },
      groups: reader.numRecordBatches,
      async readGroup(index, names) {
        const batch = await reader.readRecordBatch(index)
        if (!batch) throw new VtpError(`${file} has no record batch ${index}`, { code: 'bad_shard' })
        return fromRecordBatch(batch, pick(columns, names, file))
      },
      close: async () => {
        await reader.cancel()
        await handle.close().catch(() => {})
      },
    }
  } catch (error) {
    await handle.close().catch(() => {})
    throw error
  }
}
