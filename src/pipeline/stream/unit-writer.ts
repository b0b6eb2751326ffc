/** The scheduling thread's side of the shard writer thread (write-worker.ts). Close it. */
import { openThread } from '../../async/thread.js'
import { workerUrl } from '../../async/worker-url.js'
import { VtpError } from '../../errors.js'
import type { ShardFiles, ShardSpec } from '../../io/shards/index.js'
import type { RowBatch } from '../../types.js'
import type { PlacedReject } from '../ledger/rejects.js'
import type { DroppedRow } from './finite.js'
import type { FinishedPiece, KeepSettings } from './piece-keeper.js'

export interface WriterSettings {
  spec: ShardSpec
  /** Where finished files wait for their commit; on the same file system as DEST where that is a folder. */
  tmpDir: string
  /** How finished work of an open unit is kept. */
  keep: KeepSettings
}

/** The place of a batch in its unit's listing. */
export interface BatchPlace {
  start: number
  end: number
  /** Of each row. */
  positions: number[]
  rejects: PlacedReject[]
}

export interface Appended {
  /** Rows that were not finite: they are no rows. */
  dropped: DroppedRow[]
  /** Pieces that became due. */
  pieces: FinishedPiece[]
}

export type WriteRequest =
  | { type: 'open'; unit: number; entries: number }
  | { type: 'append'; batch: RowBatch; place: BatchPlace | undefined }
  | { type: 'keep' }
  | { type: 'finish' }
  | { type: 'abort' }

export interface UnitWriter {
  /** `entries`: of the unit's listing; each becomes a row or a reject. */
  open(unit: number, entries: number): Promise<void>
  /** Appends rows in order; their tensors are transferred away. Rows without a place come from a piece. */
  append(batch: RowBatch, place?: BatchPlace): Promise<Appended>
  /** Writes what no piece holds yet of the open unit. */
  keep(): Promise<FinishedPiece | undefined>
  finish(): Promise<ShardFiles>
  abort(): Promise<void>
  /** Seconds of work in the writer so far. */
  readonly workSeconds: number
  close(): Promise<void>
}

export function createUnitWriter(settings: WriterSettings): UnitWriter {
  const thread = openThread<WriteRequest, unknown, WriterSettings>(workerUrl('pipeline/stream/write-worker'), {
    data: settings,
    failed: (why) => new VtpError(`The shards cannot be written: ${why}`, { code: 'write_failed' }),
  })
  return {
    open: async (unit, entries) => void (await thread.call({ type: 'open', unit, entries })),
    append: async (batch, place) => {
      const buffers = new Set(Object.values(batch.tensors).map((data) => data.buffer as ArrayBuffer))
      return (await thread.call({ type: 'append', batch, place }, [...buffers])) as Appended
    },
    keep: async () => (await thread.call({ type: 'keep' })) as FinishedPiece | undefined,
    finish: async () => (await thread.call({ type: 'finish' })) as ShardFiles,
    abort: async () => void (await thread.call({ type: 'abort' })),
    get workSeconds() {
      return thread.workSeconds
    },
    close: () => thread.close(),
  }
}
