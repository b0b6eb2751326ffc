/**
 * How the cores are shared. On a CPU the encoder takes all of them: it is the slow stage, and
 * preprocessing threads get their share from the scheduler because ONNX Runtime's idle threads do not
 * spin. On a GPU the cores belong to preprocessing.
 */
import type { DeviceKind } from './providers.js'

export interface ThreadPlan {
  /** Intra-op threads of the encoder's session. */
  encode: number
  /** Preprocessing threads (or child processes). */
  preprocess: number
}

export interface ThreadRequest {
  cores: number
  device: DeviceKind
  /** Preprocessing threads as asked for by the user. */
  workers?: number
}

export function planThreads({ cores, device, workers }: ThreadRequest): ThreadPlan {
  const preprocess = workers ?? Math.max(1, device === 'cpu' ? cores : cores - 1)
  return { encode: device === 'cpu' ? cores : 1, preprocess }
}
