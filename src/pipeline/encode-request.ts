/** What a run of the batch engine is asked for, beyond its plan. */
import type { Device } from '../engine/device.js'
import type { ThreadPlan } from '../engine/threads.js'
import type { JobRequest } from './ledger/job.js'
import type { Plan } from './ledger/plan.js'
import type { PlanRequest } from './ledger/plan-request.js'
import type { ProgressSnapshot } from './stream/meter.js'
import type { RunEvent } from './stream/run-events.js'

export interface EncodeRequest extends PlanRequest, JobRequest {
  /** Images per pass of the model. It does not change the output. */
  batchSize: number
  /** Whether nobody asked for just this `batchSize`: on a GPU it is then made to fit into the free memory. */
  fitsBatch?: boolean
  threads: ThreadPlan
  /** What computes; the plan only knows its kind. */
  engine: Device
  /** How often the finished part of an open unit is kept; 0 after every batch. */
  checkpointSeconds: number
  /** What decides the engine's kernels on this machine (engine/processor.ts). */
  processor: string
  /** Refuse to work on a run that another kind of processor has begun. */
  sameProcessor?: boolean
  /** Before the units that are left: encode again what was rejected in committed units, and nothing else of them. */
  retryRejects?: boolean
  maxPixels: number
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
