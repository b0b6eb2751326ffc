/**
 * `vtp encode`: plan → read → preprocess → encode → write → commit.
 *
 * Invariants: a unit's rows keep the listing's order; its parts are put before its commit and the commit
 * comes last; nothing but the plan decides the bytes. Memory is bounded by the source bytes read ahead
 * (`FETCH_BYTES`), the batches in flight (`PREPARE_AHEAD` + `encodeAhead` + 2) and one listing slice,
 * whatever the size of the dataset.
 */

import { createLimiter, mapOrdered, untilStopped } from '../async/stages.js'
import { runsInFlight } from '../engine/device.js'
import { openPixelPool, type PixelPool } from '../image/pool/pool.js'
import { parseListingEntry } from '../io/listing.js'
import { assertConditionalWrites } from '../io/probe.js'
import type { ShardSpec } from '../io/shards/index.js'
import type { EncodeRequest } from './encode-request.js'
import { type Attempt, committedUnits, startAttempt } from './ledger/commits.js'
import { finalizeRun, provenance, type Totals, totalsSoFar } from './ledger/finalize.js'
import { COMMIT_WAIT_MS } from './ledger/parts.js'
import { type PreparedPlan, preparePlan, readUnitLines } from './ledger/prepare-plan.js'
import { mergeCounts } from './ledger/rejects.js'
import { assertUnitsExist, ownUnits, unitsToHelp, withoutCommit } from './ledger/units.js'
import { retryRejects } from './retry-rejects.js'
import type { BatchJob, EncodedBatch, UnitJob } from './stream/batch.js'
import { withBatchSize } from './stream/batch-size.js'
import {
  createPixelBuffers,
  encodeBatch,
  fetchBatch,
  fetchedBytes,
  listedBytes,
  prepareBatch,
  runViews,
} from './stream/batches.js'
import { createCommitter } from './stream/committer.js'
import { type BottleneckStage, createMeter, type Meter } from './stream/meter.js'
import { closeModels, openModels } from './stream/models.js'
import { prefetch } from './stream/prefetch.js'
import { encodeTextBatch } from './stream/texts.js'
import { createUnitWriter } from './stream/unit-writer.js'

/** Source bytes that are read ahead, at most (and one batch more). */
const FETCH_BYTES = 256 * 2 ** 20
/** Images that are read ahead, at most. */
const FETCH_IMAGES = 1024
/** Batches preprocessed ahead of the encoder. */
const PREPARE_AHEAD = 3
/** Batches posted to the encoder at once: one runs in every lane, one waits. */
const encodeAhead = (request: EncodeRequest): number => runsInFlight(request.engine)
/** From this attempt on at a unit, images are decoded in child processes. */
const ISOLATE_FROM_ATTEMPT = 3

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
  /** Whether every unit of the plan has its commit (and the manifest is written). */
  complete: boolean
  peakMemoryBytes: number
}

/** Runs the whole job; resumable. Throws VtpError; per-image failures are counted, not thrown. */
export async function runEncode(request: EncodeRequest): Promise<EncodeResult> {
  const shared = request.worker.count > 1 || request.units !== undefined
  const prepared = await preparePlan({ ...request, shared })
  try {
    if (shared) await assertConditionalWrites(prepared.store)
    return await encodePlan(prepared, await withBatchSize(prepared, request))
  } finally {
    await prepared.close()
  }
}

async function encodePlan(prepared: PreparedPlan, request: EncodeRequest): Promise<EncodeResult> {
  const { plan, store } = prepared
  const began = performance.now()
  const all = [...plan.units.keys()]
  assertUnitsExist(request.units, all.length)
  if (request.retryRejects) await retryRejects(prepared, request)
  const done = await committedUnits(store)
  const own = ownUnits(all, request.worker, request.units)
  const left = own.filter((unit) => !done.has(unit))
  request.onStart?.({ plan, resumed: prepared.resumed, unitsLeft: left.length })

  const meter = createMeter({
    total: plan.source.images,
    doneBefore: all.filter((u) => done.has(u)).reduce((sum, u) => sum + plan.units[u]!.rows, 0),
    unitsBefore: done.size,
    unitsTotal: all.length,
    widths: { preprocess: request.threads.preprocess * 2, encode: encodeAhead(request), write: 1 },
  })
  const helps = request.helpOthers && request.worker.count > 1 && !request.units
  let run: RunTotals = { rows: 0, rejects: 0, rejectsByCode: {}, bytes: 0, units: 0, interrupted: false }
  if (left.length > 0 || (helps && done.size < all.length)) {
    run = await encodeUnits(prepared, request, meter, async function* () {
      yield* request.worker.count > 1 || request.units ? withoutCommit(store, left) : left
      if (helps) yield* unitsToHelp(store, all, request.worker.index)
    })
  }

  const committed = await committedUnits(store)
  const complete = all.every((unit) => committed.has(unit))
  const totals = complete
    ? await finalizeRun(store, plan)
    : await totalsSoFar(store, all, committed, { ...run, moments: null })
  const seconds = (performance.now() - began) / 1000
  return {
    ...totals,
    newRows: run.rows,
    units: run.units,
    unitsDone: committed.size,
    unitsTotal: all.length,
    seconds,
    imagesPerSecond: meter.images / Math.max(seconds, 1e-3),
    bytesRead: meter.bytesRead,
    bottleneck: meter.bottleneck(),
    // Rejects that were not tried again yet leave no trace in the commits.
    interrupted: (run.interrupted && !complete) || (request.retryRejects === true && request.stop?.aborted === true),
    complete,
    peakMemoryBytes: process.resourceUsage().maxRSS * 1024,
  }
}

interface RunTotals extends Omit<Totals, 'moments'> {
  units: number
  interrupted: boolean
}

/** Runs the pipeline over the units that `nextUnits` yields. */
async function encodeUnits(
  prepared: PreparedPlan,
  request: EncodeRequest,
  meter: Meter,
  nextUnits: () => AsyncIterable<number>,
): Promise<RunTotals> {
  const { plan, store, source, transform } = prepared
  const { height, width } = transform
  // The first images are read and preprocessed while the model is opened.
  const model = openModels(prepared, request)
  model.catch(() => {})
  const spec: ShardSpec = {
    format: plan.format,
    columns: plan.columns,
    captions: plan.source.captions,
    metadata: plan.source.options?.metadata === true,
    classes: plan.classes,
    texts: source.kind === 'text',
    shards: plan.units.length,
    provenance: provenance(plan),
  }
  const tmpDir = await store.tempDir()
  const writer = createUnitWriter({ spec, tmpDir })
  const views = runViews(plan.transform, plan.flip)
  const limits = { maxPixels: request.maxPixels, timeoutMs: 60_000 }
  const pools = new Map<boolean, PixelPool>()
  const pool = (isolated: boolean): PixelPool => {
    let found = pools.get(isolated)
    if (!found) {
      found = openPixelPool(request.threads.preprocess, isolated)
      pools.set(isolated, found)
    }
    return found
  }
  const buffers = createPixelBuffers(request.batchSize, height * width * 3, plan.flip)
  const attempts = new Map<number, Attempt>()
  const totals: RunTotals = { rows: 0, rejects: 0, rejectsByCode: {}, bytes: 0, units: 0, interrupted: false }
  const timer = setInterval(() => request.onProgress?.(meter.snapshot()), 200)

  // A unit that is on its way through this pipeline has no commit yet: it must not be taken for one to help with.
  const begun = new Set<number>()
  /** Units whose last batch is with the encoder, or behind it. */
  const ending = new Set<number>()
  const { stop } = request

  async function* jobs(): AsyncGenerator<BatchJob> {
    for await (const index of nextUnits()) {
      if (request.stop?.aborted) break
      if (begun.has(index)) continue
      begun.add(index)
      const unit = plan.units[index]!
      const lines = await readUnitLines(prepared, index)
      const attempt = await startAttempt(store, index)
      attempts.set(index, attempt)
      const job: UnitJob = { index, unit, isolated: attempt.number >= ISOLATE_FROM_ATTEMPT }
      request.onEvent?.({ event: 'unit_started', unit: index, attempt: attempt.number, isolated: job.isolated })
      for (let start = 0; start < lines.length; start += request.batchSize) {
        if (request.stop?.aborted) break
        const entries = lines.slice(start, start + request.batchSize).map(parseListingEntry)
        yield { job, start, entries, last: start + entries.length === lines.length }
      }
    }
  }

  const committer = createCommitter({
    store,
    plan,
    writer,
    meter,
    attempts,
    commitWaitMs: request.worker.count > 1 || request.units ? COMMIT_WAIT_MS : 0,
    onEvent: request.onEvent,
    onCommit: ({ rows, rejects, rejectsByCode = {} }, bytes) => {
      totals.rows += rows
      totals.rejects += rejects
      mergeCounts(totals.rejectsByCode, rejectsByCode)
      totals.bytes += bytes
      totals.units++
    },
  })
  try {
    const context = { columns: plan.columns, flip: plan.flip, buffers, meter }
    const encodeImages = (): AsyncIterable<EncodedBatch> => {
      const limit = createLimiter(request.threads.preprocess * 2)
      const fetched = prefetch(jobs(), (batch) => fetchBatch(batch, { source, meter, stopWhenRefused: true, stop }), {
        min: 2,
        max: Math.max(4, Math.ceil(FETCH_IMAGES / request.batchSize)),
        maxBytes: FETCH_BYTES,
        sizeOf: fetchedBytes,
        expectedSize: listedBytes,
        onStarved: (seconds) => {
          meter.starvedSeconds += seconds
        },
      })
      const preparedBatches = mapOrdered(untilStopped(fetched, stop), PREPARE_AHEAD, (batch) =>
        prepareBatch(batch, { pool, views, limits, limit, buffers, meter, stop }),
      )
      return mapOrdered(untilStopped(preparedBatches, stop), encodeAhead(request), async (batch) => {
        if (batch.last) ending.add(batch.job.index)
        return encodeBatch(batch, { ...context, ...(await model) })
      })
    }
    const encoded =
      source.kind === 'text'
        ? mapOrdered(jobs(), encodeAhead(request), async (batch) =>
            encodeTextBatch(batch, (await model).texts!, plan.columns[0]!, meter),
          )
        : encodeImages()
    // One batch is written while the next is taken from the encoder.
    let writing: Promise<void> = Promise.resolve()
    for await (const batch of encoded) {
      // A unit that cannot be completed any more is left as it is.
      if (source.kind !== 'text' && stop?.aborted && !ending.has(batch.job.index)) continue
      await writing
      writing = committer.write(batch)
      writing.catch(() => {})
    }
    await writing
    await committer.settled()
    totals.interrupted = stop?.aborted ?? false
  } finally {
    clearInterval(timer)
    await committer.settled().catch(() => {})
    await writer.abort().catch(() => {})
    await Promise.allSettled([...attempts.values()].map((attempt) => attempt.withdraw()))
    await Promise.allSettled([writer.close(), model.then(closeModels), ...[...pools.values()].map((p) => p.close())])
  }
  request.onProgress?.(meter.snapshot())
  return totals
}
