/**
 * ONNX Runtime sessions, each in a worker thread of its own (session-worker.ts). A `Session` is a
 * resource: close it. Runs may be posted ahead; results come back in order.
 */
import { openThread, startThreadAhead } from '../async/thread.js'
import { workerUrl } from '../async/worker-url.js'
import { errorText, VtpError } from '../errors.js'
import { switchTelemetryOff } from './telemetry-off.js'

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

/** The first request to a session's thread. */
export interface SessionOpening {
  open: SessionSettings
}

export interface SessionRequest {
  inputs: Record<string, TensorValue>
  fetches?: string[]
}

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

const WORKER = workerUrl('engine/session-worker')

/** Starts the thread of a session that is opened soon: it loads ONNX Runtime meanwhile. */
export function startSessionAhead(): void {
  switchTelemetryOff()
  startThreadAhead(WORKER)
}

/** Opens a session in a worker thread. Throws VtpError `engine_open_failed` with ONNX Runtime's reason. */
export async function openSession(settings: SessionSettings): Promise<Session> {
  switchTelemetryOff()
  const runFailed = (why: string): VtpError =>
    new VtpError(`The engine failed: ${why}`, {
      code: 'engine_run_failed',
      suggestions: ['try a smaller --batch-size'],
    })
  const thread = openThread<SessionOpening | SessionRequest, RunResult | undefined>(WORKER, {
    data: undefined,
    failed: runFailed,
    uninterruptible: true,
  })
  try {
    await thread.call({ open: settings })
  } catch (error) {
    await thread.terminate()
    const why = errorText(error).replace(/^The engine failed: /, '')
    throw new VtpError(`The engine could not open ${settings.path}: ${why}`, {
      code: 'engine_open_failed',
      suggestions: ['run `vtp doctor` to see the devices of this machine', 'free memory or choose a smaller model'],
      cause: error,
    })
  }
  return {
    settings,
    async run(inputs, fetches) {
      const transfer: ArrayBuffer[] = []
      for (const value of Object.values(inputs)) {
        if (value.data.buffer instanceof ArrayBuffer) transfer.push(value.data.buffer)
      }
      return (await thread.call(fetches ? { inputs, fetches } : { inputs }, transfer))!
    },
    close: () => thread.close(),
  }
}
