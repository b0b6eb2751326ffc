/**
 * Parquet shards, row group by row group. The footer is read in JavaScript first: what is damaged there makes the
 * library panic, after which it cannot be used any more in this process.
 */
import { openAsBlob } from 'node:fs'
import { tableFromIPC } from 'apache-arrow'
import { parquetMetadataAsync } from 'hyparquet'
import { fromRecordBatch, joinBatches, pick, slices, tensorColumns } from './record-batches.js'
import type { Shard } from './types.js'

/** Throws an Error for a footer that does not fit its file. */
async function checkFooter(blob: Blob): Promise<void> {
  const metadata = await parquetMetadataAsync({
    byteLength: blob.size,
    slice: (start, end) => blob.slice(start, end ?? blob.size).arrayBuffer(),
  })
  for (const group of metadata.row_groups) {
    for (const { meta_data: column } of group.columns) {
      const start = Number(column?.dictionary_page_offset ?? column?.data_page_offset ?? Number.NaN)
      const bytes = Number(column?.total_compressed_size ?? Number.NaN)
      if (!(start >= 4 && bytes >= 0 && start + bytes <= blob.size)) throw new Error('a column is cut off')
    }
  }
}

export async function openParquet(file: string): Promise<Shard> {
  const { ParquetFile } = await import('parquet-wasm')
  const blob = await openAsBlob(file)
  await checkFooter(blob)
  const parquet = await ParquetFile.fromFile(blob)
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
