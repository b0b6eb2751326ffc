/**
 * The worker's side of read-parquet.ts: reads one Parquet file at a time by parquet-wasm. Damaged pages make the
 * library panic, after which it cannot be used any more: here that ends this thread, and not the process.
 */
import { openAsBlob } from 'node:fs'
import { parquetMetadataAsync } from 'hyparquet'
import { ParquetFile } from 'parquet-wasm'
import { type Answer, serveThread } from '../../async/serve-thread.js'
import type { ParquetReply, ParquetRequest } from './read-parquet.js'

// A panic is also written there; what it means for the user is said by the owner of this thread.
console.error = () => {}

/** Two marks and the footer's length. */
const SMALLEST_BYTES = 12

/** Throws an Error for a footer that does not fit its file. */
async function checkFooter(blob: Blob): Promise<void> {
  if (blob.size < SMALLEST_BYTES) throw new Error(`${blob.size} bytes are no Parquet file`)
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

type Batches = ReadableStreamDefaultReader<{ intoIPCStream(): Uint8Array }>
let file: ParquetFile | undefined
const streams = new Map<number, Batches>()

async function open(path: string): Promise<ParquetReply> {
  const blob = await openAsBlob(path)
  await checkFooter(blob)
  close()
  file = await ParquetFile.fromFile(blob)
  const metadata = file.metadata()
  const fields = metadata.fileMetadata()
  return {
    ipc: file.schema().intoIPCStream(),
    rows: fields.numRows(),
    groups: metadata.numRowGroups(),
    provenance: Object.fromEntries(fields.keyValueMetadata()) as Record<string, string>,
  }
}

async function next(stream: number): Promise<ParquetReply> {
  const { value } = await streams.get(stream)!.read()
  if (value) return { ipc: value.intoIPCStream() }
  streams.delete(stream)
  return {}
}

async function answer(request: ParquetRequest): Promise<ParquetReply> {
  switch (request.kind) {
    case 'open':
      return open(request.path)
    case 'stream': {
      const { columns, batchRows: batchSize, stream } = request
      const batches = await file!.stream({ columns, batchSize })
      streams.set(stream, batches.getReader() as Batches)
      return {}
    }
    case 'next':
      return next(request.stream)
    case 'group': {
      const table = await file!.read({ columns: request.columns, rowGroups: [request.index] })
      return { ipc: table.intoIPCStream() }
    }
    case 'close':
      close()
      return {}
  }
}

function close(): void {
  streams.clear()
  file?.free()
  file = undefined
}

serveThread<ParquetRequest, ParquetReply>({
  async handle(request): Promise<Answer<ParquetReply>> {
    const reply = await answer(request)
    return { reply, transfer: reply.ipc ? [reply.ipc.buffer as ArrayBuffer] : [] }
  },
})
