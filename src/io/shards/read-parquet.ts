/**
 * Parquet shards, row group by row group. The library runs in a thread (parquet-worker.ts), for a damaged page makes it
 * panic. A thread reads one file; afterwards the next file has it, unless it has failed.
 */
import { tableFromIPC } from 'apache-arrow'
import { openThread, type Thread } from '../../async/thread.js'
import { workerUrl } from '../../async/worker-url.js'
import type { RowBatch, TensorColumn } from '../../types.js'
import { fromRecordBatch, joinBatches, pick, slices, tensorColumns } from './record-batches.js'
import type { Shard } from './types.js'

export type ParquetRequest =
  | { kind: 'open'; path: string }
  | { kind: 'stream'; stream: number; columns: string[]; batchRows: number }
  | { kind: 'next'; stream: number }
  | { kind: 'group'; index: number; columns: string[] }
  | { kind: 'close' }

export interface ParquetReply {
  /** An Arrow IPC stream: of `open` the schema, of `next` and `group` rows. `next` has none at the end. */
  ipc?: Uint8Array
  rows?: number
  groups?: number
  provenance?: Record<string, string>
}

type Reader = Thread<ParquetRequest, ParquetReply>
/** Starting a thread takes as long as reading a few thousand rows. */
let idle: Reader | undefined

function openReader(): Reader {
  return openThread(workerUrl('io/shards/parquet-worker'), {
    data: undefined,
    failed: (why) => new Error(/unreachable|memory access|table index/.test(why) ? 'its pages are damaged' : why),
    mayIdle: true,
  })
}

const META_COLUMNS = ['key', 'uri', 'label', 'caption', 'metadata', 'width', 'height', 'sha256']

/** Throws Errors for damaged files, and so does reading. */
export async function openParquet(file: string): Promise<Shard> {
  const thread = idle ?? openReader()
  idle = undefined
  let failed = false
  const call = (request: ParquetRequest): Promise<ParquetReply> =>
    thread.call(request).catch((error: unknown) => {
      failed = true
      throw error
    })
  const close = async (): Promise<void> => {
    if (!failed) await call({ kind: 'close' }).catch(() => {})
    if (failed || idle) await thread.terminate()
    else idle = thread
  }
  const opened = await call({ kind: 'open', path: file }).catch(async (error: unknown) => {
    await close()
    throw error
  })
  const { schema } = tableFromIPC(opened.ipc!)
  const columns = tensorColumns(schema)
  const metas = META_COLUMNS.filter((name) => schema.fields.some((field) => field.name === name))
  const batchesOf = ({ ipc }: ParquetReply, wanted: TensorColumn[]): RowBatch[] =>
    tableFromIPC(ipc!).batches.map((batch) => fromRecordBatch(batch, wanted))
  let streams = 0
  return {
    path: file,
    rows: opened.rows!,
    columns,
    provenance: { ...Object.fromEntries(schema.metadata), ...opened.provenance },
    async *read(names, batchRows) {
      const wanted = pick(columns, names, file)
      const stream = streams++
      await call({ kind: 'stream', stream, columns: [...metas, ...names], batchRows })
      for (;;) {
        const reply = await call({ kind: 'next', stream })
        if (!reply.ipc) return
        for (const batch of batchesOf(reply, wanted)) yield* slices(batch, wanted, batchRows)
      }
    },
    groups: opened.groups!,
    async readGroup(index, names) {
      const wanted = pick(columns, names, file)
      return joinBatches(batchesOf(await call({ kind: 'group', index, columns: [...metas, ...names] }), wanted), wanted)
    },
    close,
  }
}
