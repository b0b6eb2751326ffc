/** Arrow IPC file shards: one copy of the tensors from the encoder to the disk. */
import path from 'node:path'
import { AsyncByteQueue, RecordBatchFileWriter } from 'apache-arrow'
import { temporaryName } from '../atomic.js'
import { shardSchema, toRecordBatch } from './arrow-schema.js'
import { openFileSink } from './file-sink.js'
import { createRebatcher, rowsPerBatch } from './rebatch.js'
import type { FormatWriter, ShardSpec } from './types.js'

/** Bytes of a record batch: small enough to bound memory, large enough to be read at full speed. */
const BATCH_BYTES = 8 * 2 ** 20

/** Collects what Arrow's writer emits, to be written in order. */
class ChunkQueue extends AsyncByteQueue {
  chunks: Uint8Array[] = []
  override write(chunk: Uint8Array): void {
    if (chunk.byteLength > 0) this.chunks.push(chunk)
  }
}

/** Holds about two record batches (16 MiB), whatever the shard's size. */
export async function openArrowWriter(spec: ShardSpec, name: string, tmpDir: string): Promise<FormatWriter> {
  const schema = shardSchema(spec)
  const sink = await openFileSink(temporaryName(path.join(tmpDir, name)))
  const queue = new ChunkQueue()
  const writer = new RecordBatchFileWriter()
  writer.reset(queue as never, schema)
  const flush = async (): Promise<void> => sink.write(...queue.chunks.splice(0))
  const rebatcher = createRebatcher(spec.columns, rowsPerBatch(spec.columns, BATCH_BYTES), async (batch) => {
    writer.write(toRecordBatch(schema, spec, batch))
    await flush()
  })
  return {
    append: (batch) => rebatcher.append(batch),
    async finish() {
      await rebatcher.flush()
      writer.finish()
      await flush()
      return [{ name, ...(await sink.finish()) }]
    },
    abort: () => sink.abort(),
  }
}
