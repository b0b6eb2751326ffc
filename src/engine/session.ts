/**
 * ONNX Runtime sessions, each in a worker thread of its own (session-worker.ts). A `Session` is a
 * resource: close it. Runs may be posted ahead; results come back in order.
 */
import './telemetry-off.js'
import { Worker } from 'node:worker_threads'
import { SMALL_HEAP, workerUrl } from '../async/worker-url.js'
import { VtpError } from '../errors.js'

export type TensorArray = Float32Array | Float64Array | Uint16Array | Uint8Array | BigInt64Array | Int32Array

/** A tensor as it crosses threads; `data` may lie in shared memory. float16 is raw bits in a Uint16Array. */
export interface TensorValue {
  data: TensorArray
  dtype: string
  dims: number[]
}

export interface SessionSettings {
  /** The .onnx file; external data lies beside it. */
  path: string
  /** Execution providers in order of preference, e.g. ['cuda:0', 'cpu']. */
  providers: string[]
  /** Intra-op threads. */
  threads: number
  /** Whether idle threads spin (faster alone, slower when preprocessing shares the cores). */
  spinning?: boolean
  /** Leave weights where they are mapped: no packing and no folding, so that a huge one costs no memory. */
  mapped?: boolean
}

/** What the worker thread is started with. `halt[0]` = 1 tells it to start no further run. */
export interface WorkerSettings extends SessionSettings {
  halt: Int32Array
}

export interface SessionRequest {
  id: number
  inputs: Record<string, TensorValue>
  fetches?: string[]
}

export type WorkerReply =
  | { type: 'ready' }
  | { type: 'failed'; message: string }
  | { type: 'result'; id: number; outputs: Record<string, TensorValue>; seconds: number }
  | { type: 'error'; id: number; message: string }

export interface RunResult {
  outputs: Record<string, TensorValue>
  /** Seconds inside the session, without queueing. */
  seconds: number
}

export interface Session {
  readonly settings: SessionSettings
  /** Runs the graph; `fetches` limits the outputs. Throws VtpError `engine_run_failed`. */
  run(inputs: Record<string, TensorValue>, fetches?: string[]): Promise<RunResult>
  close(): Promise<void>
}

/** Sessions that are open in this process, each with a way to make its thread idle for good. */
const halts = new Set<() => Promise<void>>()

/**
 * Makes every session of this process idle: the run in hand ends, queued ones never start. A process must
 * not exit while ONNX Runtime is inside a run in another thread: it would abort.
 */
export async function haltSessions(): Promise<void> {
  await Promise.all([...halts].map((halt) => halt()))
}

/** Has `halt` called when all sessions are halted, for threads that run the engine on their own; returns the way back. */
export function onHalt(halt: () => Promise<void>): () => void {
  halts.add(halt)
  return () => halts.delete(halt)
}

/** Opens a session in a worker thread. Throws VtpError `engine_open_failed` with ONNX Runtime's reason. */
export async function openSession(settings: SessionSettings): Promise<Session> {
  const halt = new Int32Array(new SharedArrayBuffer(4))
  const workerSettings: WorkerSettings = { ...settings, halt }
  const worker = new Worker(workerUrl(import.meta.url, './session-worker.js'), {
    workerData: workerSettings,
    resourceLimits: SMALL_HEAP,
  })
  const haltThis = async (): Promise<void> => {
    Atomics.store(halt, 0, 1)
    const exited = new Promise<void>((resolve) => worker.once('exit', () => resolve()))
    worker.postMessage('close')
    await exited
  }
  halts.add(haltThis)
  worker.once('exit', () => halts.delete(haltThis))
  const pending = new Map<number, { resolve(result: RunResult): void; reject(error: unknown): void }>()
  let nextId = 0
  let dead: VtpError | undefined

  const fail = (error: VtpError): void => {
    dead ??= error
    for (const waiter of pending.values()) waiter.reject(dead)
    pending.clear()
  }
  await new Promise<void>((resolve, reject) => {
    const onFailed = (message: string): void => {
      const error = new VtpError(`The engine could not open ${settings.path}: ${message}`, {
        code: 'engine_open_failed',
        suggestions: ['run `vtp doctor` to see the devices of this machine', 'free memory or choose a smaller model'],
      })
      fail(error)
      reject(error)
    }
    worker.on('message', (reply: WorkerReply) => {
      if (reply.type === 'ready') resolve()
      else if (reply.type === 'failed') onFailed(reply.message)
      else {
        const waiter = pending.get(reply.id)
        pending.delete(reply.id)
        if (reply.type === 'result') waiter?.resolve({ outputs: reply.outputs, seconds: reply.seconds })
        else {
          const suggestions = ['try a smaller --batch-size']
          const message = `The engine failed: ${reply.message}`
          waiter?.reject(new VtpError(message, { code: 'engine_run_failed', suggestions }))
        }
      }
    })
    worker.on('error', (error) => onFailed(error.message))
    worker.on('exit', (code) => {
      if (code !== 0) onFailed(`its worker thread ended with code ${code}`)
    })
  }).catch(async (error) => {
    await worker.terminate()
    throw error
  })

  return {
    settings,
    run(inputs, fetches) {
      if (dead) return Promise.reject(dead)
      const id = nextId++
      const request: SessionRequest = fetches ? { id, inputs, fetches } : { id, inputs }
      const transfer: ArrayBuffer[] = []
      for (const value of Object.values(inputs)) {
        if (value.data.buffer instanceof ArrayBuffer) transfer.push(value.data.buffer)
      }
      return new Promise((resolve, reject) => {
        pending.set(id, { resolve, reject })
        worker.postMessage(request, transfer)
      })
    },
    async close() {
      if (!dead) {
        const ended = new Promise<void>((resolve) => worker.once('exit', () => resolve()))
        worker.postMessage('close')
        await ended
      }
      await worker.terminate()
    },
  }
}
