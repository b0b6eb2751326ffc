/** Parquet shards, row group by row group. */
import { openAsBlob } from 'node:fs'
import { tableFromIPC } from 'apache-arrow'
import { fromRecordBatch, joinBatches, pick, slices, tensorColumns } from './record-batches.js'
import type { Shard } from './types.js'

export async function openParquet(file: string): Promise<Shard> {
  const { ParquetFile } = await import('parquet-wasm')
  const parquet = await ParquetFile.fromFile(await openAsBlob(file))
  const schema = tableFromIPC(parquet.schema().intoIPCStream()).schema
  const columns = tensorColumns(schema)
  const metadata = parquet.metadata()
  const provenance = Object.fromEntries(metadata.fileMetadata().keyValueMetadata()) as Record<string, string>
  const metas = ['key', 'uri', 'label', 'caption', 'metadata', 'width', 'height', 'sha256'].filter((name) =>
    schema.fields.some((f) => f.name === name),
  )
  return {
    path: file,
    rows: metadata.fileMetadata().numRows(),
    columns,
    provenance: { ...Object.fromEntries(schema.metadata), ...provenance },
    async *read(names, batchRows) {
      const wanted = pick(columns, names, file)
      const stream = await parquet.stream({ columns: [...metas, ...names], batchSize: batchRows })
      const reader = stream.getReader()
      for (;;) {
        const { done, value } = await reader.read()
        if (done) return
        for (const batch of tableFromIPC(value.intoIPCStream()).batches)
          yield* slices(fromRecordBatch(batch, wanted), wanted, batchRows)
      }
    },
    groups: metadata.numRowGroups(),
    async readGroup(index, names) {
      const wanted = pick(columns, names, file)
      const table = await parquet.read({ columns: [...metas, ...names], rowGroups: [index] })
      const parts = tableFromIPC(table.intoIPCStream()).batches.map((batch) => fromRecordBatch(batch, wanted))
      return joinBatches(parts, wanted)
    },
    close: async () => parquet.free(),
  }
}
