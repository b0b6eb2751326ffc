/**
 * The pipeline over the units of a run: read → preprocess → encode → write → commit, one unit after another without
 * a pause between them. What pieces hold of a unit is taken up instead of encoded.
 *
 * Memory is bounded by the source bytes and pieces read ahead (`FETCH_BYTES`), the batches in flight
 * (`PREPARE_AHEAD` + `encodeAhead` + 2), the rows that no piece holds yet, and one listing slice.
 */
import { createLimiter, mapOrdered, untilStopped } from '../../async/stages.js'
import { runsInFlight } from '../../engine/device.js'
import { openPixelPool, type PixelPool } from '../../image/pool/pool.js'
import { parseListingEntry } from '../../io/listing.js'
import type { ShardSpec } from '../../io/shards/index.js'
import { tensorBytes } from '../../io/shards/rebatch.js'
import type { EncodeRequest } from '../encode-request.js'
import { provenance, type Totals } from '../ledger/finalize.js'
import { commitWaitMs, type StartedUnit } from '../ledger/job.js'
import type { PieceSeal } from '../ledger/piece-header.js'
import { choosePieces, listPieces, readPiece } from '../ledger/pieces.js'
import { type PreparedPlan, readUnitLines } from '../ledger/prepare-plan.js'
import { mergeCounts } from '../ledger/rejects.js'
import type { BatchJob, EncodedBatch, UnitJob } from './batch.js'
import {
  createPixelBuffers,
  encodeBatch,
  fetchBatch,
  fetchedBytes,
  listedBytes,
  prepareBatch,
  runViews,
} from './batches.js'
import { createCommitter, type OpenUnit } from './committer.js'
import type { Meter } from './meter.js'
import { closeModels, openModels, sampleSeedOf } from './models.js'
import { prefetch } from './prefetch.js'
import { encodeTextBatch } from './texts.js'
import { createUnitWriter } from './unit-writer.js'

/** Source bytes that are read ahead, at most (and one batch more). */
const FETCH_BYTES = 256 * 2 ** 20
/** Images that are read ahead, at most. */
const FETCH_IMAGES = 1024
/** Batches preprocessed ahead of the encoder. */
const PREPARE_AHEAD = 3
/** From this attempt on at a unit, images are decoded in child processes. */
const ISOLATE_FROM_ATTEMPT = 3

/** Batches posted to the encoder at once: one runs in every lane, one waits. */
export const encodeAhead = (request: EncodeRequest): number => runsInFlight(request.engine)

export interface StreamTotals extends Omit<Totals, 'moments'> {
  units: number
  interrupted: boolean
  /** Of the unit that was open when the run was stopped: its number, and its entries that need not be done again. */
  kept: { unit: number; entries: number } | undefined
}

export function emptyStreamTotals(): StreamTotals {
  return { rows: 0, rejects: 0, rejectsByCode: {}, bytes: 0, units: 0, interrupted: false, kept: undefined }
}

/** A batch on its way: of images that go through the stages, or of rows that a piece holds already. */
type Step<T> = { unit: OpenUnit } & ({ fresh: T } | { stored: EncodedBatch })

/** A stage that stored rows pass by. */
const fresh =
  <A, B>(stage: (batch: A) => Promise<B>) =>
  async (step: Step<A>): Promise<Step<B>> =>
    'stored' in step ? step : { unit: step.unit, fresh: await stage(step.fresh) }

export async function encodeUnits(
  prepared: PreparedPlan,
  request: EncodeRequest,
  meter: Meter,
  units: AsyncIterable<StartedUnit>,
): Promise<StreamTotals> {
  const { plan, store, source, transform } = prepared
  const { height, width } = transform
  const { stop, batchSize } = request
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
  const seal: PieceSeal = { plan: plan.hash, processor: request.processor }
  const keep = { everySeconds: request.checkpointSeconds, seal }
  const writer = createUnitWriter({ spec, tmpDir: await store.tempDir(), keep })
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
  const buffers = createPixelBuffers(batchSize, height * width * 3, plan.flip)
  const totals = emptyStreamTotals()
  const timer = setInterval(() => request.onProgress?.(meter.snapshot()), 200)

  async function* jobs(): AsyncGenerator<Step<BatchJob>> {
    for await (const started of units) {
      const { index, attempt } = started
      const lines = await readUnitLines(prepared, index)
      const pieces = await listPieces(store, index)
      const unit: OpenUnit = { ...started, pieces: new Set(pieces.map(({ name }) => name)) }
      const job: UnitJob = { index, unit: plan.units[index]!, isolated: attempt.number >= ISOLATE_FROM_ATTEMPT }
      request.onEvent?.({ event: 'unit_started', unit: index, attempt: attempt.number, isolated: job.isolated })
      const entriesOf = (start: number, end: number): BatchJob => {
        const entries = lines.slice(start, end).map(parseListingEntry)
        return { job, start, entries, last: end === lines.length }
      }
      let at = 0
      let takenUp = 0
      async function* encodeTo(end: number): AsyncGenerator<Step<BatchJob>> {
        for (; at < end; at = Math.min(at + batchSize, end)) {
          if (stop?.aborted) return
          yield { unit, fresh: entriesOf(at, Math.min(at + batchSize, end)) }
        }
      }
      for (const piece of choosePieces(pieces.filter(({ end }) => end <= lines.length))) {
        const rows = await readPiece(store, piece, seal, plan.columns)
        if (!rows) continue
        yield* encodeTo(piece.start)
        if (stop?.aborted) return
        const { batch, rejects } = rows
        takenUp += piece.end - piece.start
        const stored = { ...entriesOf(piece.start, piece.end), rows: batch.rows, positions: [], rejects, batch }
        yield { unit, stored }
        at = piece.end
      }
      if (takenUp > 0) {
        request.onNote?.(
          `Unit ${index}: ${takenUp} of ${lines.length} images are taken up from an earlier attempt, ${lines.length - takenUp} are left.`,
        )
      }
      yield* encodeTo(lines.length)
    }
  }

  const committer = createCommitter({
    store,
    run: { plan: plan.hash, processor: request.processor },
    writer,
    meter,
    commitWaitMs: commitWaitMs(request),
    onEvent: request.onEvent,
    onNote: request.onNote,
    onCommit: ({ rows, rejects, rejectsByCode = {} }, bytes) => {
      totals.rows += rows
      totals.rejects += rejects
      mergeCounts(totals.rejectsByCode, rejectsByCode)
      totals.bytes += bytes
      totals.units++
    },
  })
  const encodeImages = (): AsyncIterable<Step<EncodedBatch>> => {
    const context = {
      columns: plan.columns,
      flip: plan.flip,
      sampleSeed: sampleSeedOf(plan),
      buffers,
      meter,
    }
    const limit = createLimiter(request.threads.preprocess * 2)
    const rowBytes = tensorBytes(plan.columns)
    const fetched = prefetch(
      jobs(),
      fresh((batch) => fetchBatch(batch, { source, meter, stopWhenRefused: true, stop })),
      {
        min: 2,
        max: Math.max(4, Math.ceil(FETCH_IMAGES / batchSize)),
        maxBytes: FETCH_BYTES,
        sizeOf: (step) => ('stored' in step ? step.stored.rows.length * rowBytes : fetchedBytes(step.fresh)),
        expectedSize: (step) => ('stored' in step ? step.stored.rows.length * rowBytes : listedBytes(step.fresh)),
        onStarved: (seconds) => {
          meter.starvedSeconds += seconds
        },
      },
    )
    const preparedBatches = mapOrdered(
      untilStopped(fetched, stop),
      PREPARE_AHEAD,
      fresh((batch) => prepareBatch(batch, { pool, views, limits, limit, buffers, meter, stop })),
    )
    return mapOrdered(
      untilStopped(preparedBatches, stop),
      encodeAhead(request),
      fresh(async (batch) => encodeBatch(batch, { ...context, ...(await model) })),
    )
  }
  const encodeTexts = (): AsyncIterable<Step<EncodedBatch>> =>
    mapOrdered(
      jobs(),
      encodeAhead(request),
      fresh(async (batch) => encodeTextBatch(batch, (await model).texts!, plan.columns[0]!, meter)),
    )

  // One batch is written while the next is taken from the encoder.
  let writing: Promise<void> = Promise.resolve()
  try {
    for await (const step of source.kind === 'text' ? encodeTexts() : encodeImages()) {
      await writing
      writing = committer.write(step.unit, 'stored' in step ? step.stored : step.fresh, 'stored' in step)
      writing.catch(() => {})
    }
    await writing
    totals.kept = await committer.keep()
    await committer.settled()
    totals.interrupted = stop?.aborted ?? false
  } finally {
    clearInterval(timer)
    await writing.catch(() => {})
    // What a failure has cut off is finished work all the same.
    await committer.keep().catch(() => {})
    await committer.settled().catch(() => {})
    await writer.abort().catch(() => {})
    await Promise.allSettled([writer.close(), model.then(closeModels), ...[...pools.values()].map((p) => p.close())])
  }
  request.onProgress?.(meter.snapshot())
  return totals
}
