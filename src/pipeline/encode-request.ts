/** What a run of the batch engine is asked for, beyond its plan. */
import type { Device } from '../engine/device.js'
import type { ThreadPlan } from '../engine/threads.js'
import type { Plan } from './ledger/plan.js'
import type { PlanRequest } from './ledger/plan-request.js'
import type { ProgressSnapshot } from './stream/meter.js'
import type { RunEvent } from './stream/run-events.js'

export interface EncodeRequest extends PlanRequest {
  /** Images per pass of the model. It does not change the output. */
  batchSize: number
  /** Whether nobody asked for just this `batchSize`: on a GPU it is then made to fit into the free memory. */
  fitsBatch?: boolean
  threads: ThreadPlan
  /** What computes; the plan only knows its kind. */
  engine: Device
  worker: { index: number; count: number }
  /** Work only on these units. */
  units?: number[]
  helpOthers: boolean
  /** Before the units that are left: encode again what was rejected in committed units, and nothing else of them. */
  retryRejects?: boolean
  maxPixels: number
  /** Stops cleanly: the batches in flight are finished, nothing new is started. */
  stop?: AbortSignal
  onStart?: (info: RunInfo) => void
  onProgress?: (snapshot: ProgressSnapshot) => void
  onEvent?: (event: RunEvent) => void
}

export interface RunInfo {
  plan: Plan
  resumed: boolean
  /** Units of this worker that have no commit yet. */
  unitsLeft: number
}
