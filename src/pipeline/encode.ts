/**
 * `vtp encode`: plan → units (ledger/job.ts) → stream (stream/encode-units.ts) → manifest.
 *
 * Invariants: a unit's rows keep the listing's order; its parts are put before its commit and the commit
 * comes last; nothing but the plan decides the bytes.
 */
import type { EncodeRequest } from './encode-request.js'
import { finalizeRun, type Totals, totalsSoFar } from './ledger/finalize.js'
import { isShared, runJob } from './ledger/job.js'
import { type PreparedPlan, preparePlan } from './ledger/prepare-plan.js'
import { checkProcessor } from './ledger/processor.js'
import { assertUnitsExist } from './ledger/units.js'
import { retryRejects } from './retry-rejects.js'
import { withBatchSize } from './stream/batch-size.js'
import { emptyStreamTotals, encodeAhead, encodeUnits, type StreamTotals } from './stream/encode-units.js'
import { type BottleneckStage, createMeter, type Meter } from './stream/meter.js'

export interface EncodeResult extends Totals {
  /** Rows of units committed by this run. */
  newRows: number
  units: number
  unitsDone: number
  unitsTotal: number
  seconds: number
  imagesPerSecond: number
  bytesRead: number
  bottleneck: BottleneckStage | null
  interrupted: boolean
  /** Images that pieces of an earlier attempt held. */
  takenUp: number
  /** Of the unit that was open when the run was stopped: its number, and its images that need not be done again. */
  kept: { unit: number; entries: number } | undefined
  /** Whether every unit of the plan has its commit (and the manifest is written). */
  complete: boolean
  peakMemoryBytes: number
}

/** Runs the whole job; resumable. Throws VtpError; per-image failures are counted, not thrown. */
export async function runEncode(request: EncodeRequest): Promise<EncodeResult> {
  const prepared = await preparePlan({ ...request, shared: isShared(request) })
  try {
    await checkProcessor(prepared, request)
    return await encodePlan(prepared, await withBatchSize(prepared, request))
  } finally {
    await prepared.close()
  }
}

async function encodePlan(prepared: PreparedPlan, request: EncodeRequest): Promise<EncodeResult> {
  const { plan, store } = prepared
  const began = performance.now()
  if (request.retryRejects) {
    assertUnitsExist(request.units, plan.units.length)
    await retryRejects(prepared, request)
  }
  let meter: Meter | undefined
  let run: StreamTotals = emptyStreamTotals()
  const { result, complete, unitsDone } = await runJob<Totals>({ store, plan }, request, {
    onStart({ done, imagesDone, left }) {
      request.onStart?.({ plan, resumed: prepared.resumed, unitsLeft: left.length })
      meter = createMeter({
        total: plan.source.images,
        doneBefore: imagesDone,
        unitsBefore: done.size,
        unitsTotal: plan.units.length,
        widths: { preprocess: request.threads.preprocess * 2, encode: encodeAhead(request), write: 1 },
      })
    },
    async work(units) {
      run = await encodeUnits(prepared, request, meter!, units)
    },
    finish: () => finalizeRun(store, plan),
    partial: (committed) => totalsSoFar(store, committed, { ...run, moments: null }),
  })
  const seconds = (performance.now() - began) / 1000
  return {
    ...result,
    newRows: run.rows,
    units: run.units,
    unitsDone,
    unitsTotal: plan.units.length,
    seconds,
    imagesPerSecond: meter!.images / Math.max(seconds, 1e-3),
    bytesRead: meter!.bytesRead,
    bottleneck: meter!.bottleneck(),
    // Rejects that were not tried again yet leave no trace in the commits.
    interrupted: (run.interrupted && !complete) || (request.retryRejects === true && request.stop?.aborted === true),
    takenUp: meter!.takenUp,
    kept: run.kept,
    complete,
    peakMemoryBytes: process.resourceUsage().maxRSS * 1024,
  }
}
