/** The scheduling thread's side of the shard writer thread (write-worker.ts). Close it. */
import { Worker } from 'node:worker_threads'
import { SMALL_HEAP, workerUrl } from '../../async/worker-url.js'
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

type RequestBody =
  | { type: 'open'; unit: number }
  | { type: 'append'; batch: RowBatch; place: BatchPlace | undefined }
  | { type: 'keep' }
  | { type: 'finish' }
  | { type: 'abort' }
export type WriteRequest = RequestBody & { id: number }

export type WriteReply =
  | { id: number; value: unknown; seconds: number }
  | { id: number; error: { message: string; code: string; suggestions: string[] } }

export interface UnitWriter {
  open(unit: number): Promise<void>
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
  const worker = new Worker(workerUrl(import.meta.url, './write-worker.js'), {
    workerData: settings,
    resourceLimits: SMALL_HEAP,
  })
  const pending = new Map<number, { resolve(value: unknown): void; reject(error: unknown): void }>()
  let nextId = 0
  let workSeconds = 0
  let dead: Error | undefined

  worker.on('message', (reply: WriteReply) => {
    const waiter = pending.get(reply.id)
    pending.delete(reply.id)
    if ('error' in reply) {
      const { message, code, suggestions } = reply.error
      waiter?.reject(new VtpError(message, { code, suggestions }))
    } else {
      workSeconds += reply.seconds
      waiter?.resolve(reply.value)
    }
  })
  worker.on('error', (error) => {
    dead = new VtpError(`The writer thread ended: ${error.message}`, { code: 'write_failed' })
    for (const waiter of pending.values()) waiter.reject(dead)
    pending.clear()
  })
  const call = (request: RequestBody, transfer: ArrayBuffer[] = []): Promise<unknown> => {
    if (dead) return Promise.reject(dead)
    const id = nextId++
    return new Promise((resolve, reject) => {
      pending.set(id, { resolve, reject })
      worker.postMessage({ ...request, id }, transfer)
    })
  }

  return {
    open: async (unit) => void (await call({ type: 'open', unit })),
    append: async (batch, place) => {
      const buffers = new Set(Object.values(batch.tensors).map((data) => data.buffer as ArrayBuffer))
      return (await call({ type: 'append', batch, place }, [...buffers])) as Appended
    },
    keep: async () => (await call({ type: 'keep' })) as FinishedPiece | undefined,
    finish: async () => (await call({ type: 'finish' })) as ShardFiles,
    abort: async () => void (await call({ type: 'abort' })),
    get workSeconds() {
      return workSeconds
    },
    close: async () => {
      if (!dead) {
        const ended = new Promise<void>((resolve) => worker.once('exit', () => resolve()))
        worker.postMessage('close')
        await ended
      }
      await worker.terminate()
    },
  }
}
