/**
 * `vtp encode`: plan → read → preprocess → encode → write → commit.
 *
 * Invariants: a unit's rows keep the listing's order; its parts are put before its commit and the commit
 * comes last; nothing but the plan decides the bytes. Memory is bounded by the batches in flight
 * (`PREPARE_AHEAD` + `ENCODE_AHEAD` + 2) and one listing slice, whatever the size of the dataset.
 */
import { openSession, type Session } from '../engine/session.js'
import { openTextEncoder, type TextEncoder } from '../engine/text-encoder.js'
import type { ThreadPlan } from '../engine/threads.js'
import { VtpError } from '../errors.js'
import { parseListingEntry } from '../io/listing.js'
import type { ShardSpec } from '../io/shards/index.js'
import type { Store } from '../io/store.js'
import { compileEncoder, type EncoderOutput } from '../model/index.js'
import type { Reject } from '../types.js'
import {
  type BatchJob,
  createPixelBuffers,
  type EncodedBatch,
  encodeBatch,
  type PlacedReject,
  prepareBatch,
  type UnitJob,
} from './batches.js'
import { type Attempt, committedUnits, startAttempt, writeCommit } from './commits.js'
import { finalizeRun, provenance, type Totals, visitCommits } from './finalize.js'
import { rejectsName } from './layout.js'
import { type BottleneckStage, createMeter, type Meter, type ProgressSnapshot } from './meter.js'
import type { Plan } from './plan.js'
import { type PlanRequest, type PreparedPlan, preparePlan, readUnitLines } from './prepare-plan.js'
import { createPreprocessPool, type PreprocessPool } from './preprocess-pool.js'
import { createLimiter, mapOrdered } from './stages.js'
import { encodeTextBatch } from './texts.js'
import { createUnitWriter, type UnitWriter } from './unit-writer.js'
import { ownUnits, unitsToHelp } from './units.js'

/** Batches read and preprocessed ahead of the encoder. */
const PREPARE_AHEAD = 3
/** Batches posted to the encoder at once: one runs, one waits. */
const ENCODE_AHEAD = 2
/** From this attempt on at a unit, images are decoded in child processes. */
const ISOLATE_FROM_ATTEMPT = 3

export interface EncodeRequest extends PlanRequest {
  /** Images per pass of the model. It does not change the output. */
  batchSize: number
  threads: ThreadPlan
  /** Execution providers, as the engine names them. */
  providers: string[]
  worker: { index: number; count: number }
  /** Work only on these units. */
  units?: number[]
  helpOthers: boolean
  maxPixels: number
  /** Stops cleanly: the batches in flight are finished, nothing new is started. */
  stop?: AbortSignal
  onStart?: (info: RunInfo) => void
  onProgress?: (snapshot: ProgressSnapshot) => void
}

export interface RunInfo {
  plan: Plan
  resumed: boolean
  /** Units of this worker that have no commit yet. */
  unitsLeft: number
}

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
  const prepared = await preparePlan(request)
  try {
    return await encodePlan(prepared, request)
  } finally {
    await prepared.close()
  }
}

async function encodePlan(prepared: PreparedPlan, request: EncodeRequest): Promise<EncodeResult> {
  const { plan, store } = prepared
  const began = performance.now()
  const all = [...plan.units.keys()]
  const done = await committedUnits(store)
  const own = ownUnits(all, request.worker, request.units)
  const left = own.filter((unit) => !done.has(unit))
  request.onStart?.({ plan, resumed: prepared.resumed, unitsLeft: left.length })

  const meter = createMeter({
    total: plan.source.images,
    doneBefore: all.filter((u) => done.has(u)).reduce((sum, u) => sum + plan.units[u]!.rows, 0),
    unitsBefore: done.size,
    unitsTotal: all.length,
    widths: { read: request.threads.reads, preprocess: request.threads.preprocess * 2, encode: ENCODE_AHEAD, write: 1 },
  })
  const helps = request.helpOthers && request.worker.count > 1 && !request.units
  let run: RunTotals = { rows: 0, units: 0, interrupted: false }
  if (left.length > 0 || (helps && done.size < all.length)) {
    run = await encodeUnits(prepared, request, meter, async function* () {
      yield* left
      if (helps) yield* unitsToHelp(store, all, request.worker.index)
    })
  }

  const committed = await committedUnits(store)
  const complete = all.every((unit) => committed.has(unit))
  const totals = complete ? await finalizeRun(store, plan) : await partialTotals(store, all, committed)
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
    interrupted: run.interrupted && !complete,
    complete,
    peakMemoryBytes: process.resourceUsage().maxRSS * 1024,
  }
}

async function partialTotals(store: Store, all: number[], committed: Set<number>): Promise<Totals> {
  const totals: Totals = { rows: 0, rejects: 0, bytes: 0, moments: null }
  await visitCommits(
    store,
    all.filter((unit) => committed.has(unit)),
    (commit) => {
      totals.rows += commit.rows
      totals.rejects += commit.rejects
      for (const file of commit.files) totals.bytes += file.bytes
    },
  )
  return totals
}

interface RunTotals {
  rows: number
  units: number
  interrupted: boolean
}

/** Opens an encoder session for the plan's outputs; undefined when only pixels are wanted. */
export async function openEncoder(prepared: PreparedPlan, request: EncodeRequest): Promise<Session | undefined> {
  const { plan, model, transform } = prepared
  const outputs = plan.outputs.filter((name): name is EncoderOutput => name !== 'pixels' && name !== 'text')
  if (outputs.length === 0) return undefined
  const column = plan.columns.find((c) => c.dtype !== 'uint8')!
  const { height, width } = transform
  const graph = await compileEncoder(
    model,
    {
      height,
      width,
      outputs,
      layers: plan.layers,
      layersNorm: plan.layersNorm,
      dtype: column.dtype as 'float16' | 'float32',
      precision: 'fp32',
      device: 'cpu',
    },
    { cacheDir: request.cacheDir },
  )
  return openSession({ path: graph.path, providers: request.providers, threads: request.threads.encode })
}

/** Opens the text tower when the plan has texts; undefined otherwise. */
export async function openTexts(prepared: PreparedPlan, request: EncodeRequest): Promise<TextEncoder | undefined> {
  if (!prepared.plan.outputs.includes('text')) return undefined
  const { providers, threads, cacheDir } = request
  return openTextEncoder(prepared.model, { providers, threads: threads.encode, cacheDir })
}

/** Runs the pipeline over the units that `nextUnits` yields. */
async function encodeUnits(
  prepared: PreparedPlan,
  request: EncodeRequest,
  meter: Meter,
  nextUnits: () => AsyncIterable<number>,
): Promise<RunTotals> {
  const { plan, store, source, transform, listingFile } = prepared
  const { height, width } = transform
  const session = await openEncoder(prepared, request)
  const texts = await openTexts(prepared, request)
  const spec: ShardSpec = {
    format: plan.format,
    columns: plan.columns,
    captions: plan.source.captions,
    texts: source.kind === 'text',
    shards: plan.units.length,
    provenance: provenance(plan),
  }
  const tmpDir = await store.tempDir()
  const writer = createUnitWriter({ spec, tmpDir })
  const pools = new Map<boolean, PreprocessPool>()
  const pool = (isolated: boolean): PreprocessPool => {
    let found = pools.get(isolated)
    if (!found) {
      const limits = { maxPixels: request.maxPixels, timeoutMs: 60_000 }
      found = createPreprocessPool(
        { transform: plan.transform, limits, flip: plan.flip },
        request.threads.preprocess,
        isolated,
      )
      pools.set(isolated, found)
    }
    return found
  }
  const buffers = createPixelBuffers(request.batchSize, height * width * 3, plan.flip)
  const attempts = new Map<number, Attempt>()
  const totals: RunTotals = { rows: 0, units: 0, interrupted: false }
  const timer = setInterval(() => request.onProgress?.(meter.snapshot()), 200)

  async function* jobs(): AsyncGenerator<BatchJob> {
    for await (const index of nextUnits()) {
      if (request.stop?.aborted) break
      const unit = plan.units[index]!
      const attempt = await startAttempt(store, index)
      attempts.set(index, attempt)
      const job: UnitJob = { index, unit, isolated: attempt.number >= ISOLATE_FROM_ATTEMPT }
      const lines = await readUnitLines(listingFile, unit)
      for (let start = 0; start < lines.length; start += request.batchSize) {
        if (request.stop?.aborted) break
        const entries = lines.slice(start, start + request.batchSize).map(parseListingEntry)
        yield { job, start, entries, last: start + entries.length === lines.length }
      }
    }
    totals.interrupted = request.stop?.aborted ?? false
  }

  const committer = createCommitter(store, plan, writer, meter, attempts)
  try {
    const limit = createLimiter(request.threads.reads)
    const context = { session, texts, columns: plan.columns, height, width, flip: plan.flip, buffers, meter }
    const encodeImages = (): AsyncIterable<EncodedBatch> =>
      mapOrdered(
        mapOrdered(jobs(), PREPARE_AHEAD, (batch) => prepareBatch(batch, { source, pool, buffers, limit, meter })),
        ENCODE_AHEAD,
        (batch) => encodeBatch(batch, context),
      )
    const encoded =
      source.kind === 'text'
        ? mapOrdered(jobs(), ENCODE_AHEAD, (batch) => encodeTextBatch(batch, texts!, plan.columns[0]!, meter))
        : encodeImages()
    // One batch is written while the next is taken from the encoder.
    let writing: Promise<void> = Promise.resolve()
    for await (const batch of encoded) {
      await writing
      writing = committer.write(batch).then((rows) => {
        if (rows === null) return
        totals.rows += rows
        totals.units++
      })
      writing.catch(() => {})
    }
    await writing
  } finally {
    clearInterval(timer)
    await writer.abort().catch(() => {})
    await Promise.allSettled([...attempts.values()].map((attempt) => attempt.withdraw()))
    await Promise.allSettled([
      writer.close(),
      session?.close(),
      texts?.close(),
      ...[...pools.values()].map((p) => p.close()),
    ])
  }
  request.onProgress?.(meter.snapshot())
  return totals
}

/** The end of the pipeline: appends batches to the unit's shard and commits it after the last one. */
function createCommitter(store: Store, plan: Plan, writer: UnitWriter, meter: Meter, attempts: Map<number, Attempt>) {
  let rejects: PlacedReject[] = []
  let secondsBefore = meter.seconds()

  const commitUnit = async (unit: number): Promise<number> => {
    const shard = await writer.finish()
    rejects.sort((a, b) => a.position - b.position)
    for (const file of shard.files) {
      const stored = await store.putFile(file.name, file.path, { ifAbsent: true })
      if (!stored) await assertSamePart(store, file.name, file.sha256)
    }
    if (rejects.length > 0) {
      const lines = rejects.map(({ reject }) => `${encodeReject(reject)}\n`).join('')
      await store.put(rejectsName(unit), Buffer.from(lines))
    }
    const now = meter.seconds()
    const seconds = Object.fromEntries(
      Object.entries(now).map(([stage, value]) => [
        stage,
        Number((value - secondsBefore[stage as BottleneckStage]).toFixed(3)),
      ]),
    )
    secondsBefore = now
    await writeCommit(store, {
      unit,
      plan: plan.hash,
      rows: shard.rows,
      rejects: rejects.length,
      files: shard.files.map(({ name, bytes, sha256 }) => ({ name, bytes, sha256 })),
      moments: shard.moments,
      seconds,
    })
    attempts.delete(unit)
    meter.unitsDone++
    return shard.rows
  }

  return {
    /** Returns the unit's number of rows when this batch completed it, else null. */
    async write(batch: EncodedBatch): Promise<number | null> {
      return meter.clocks.write.time(async () => {
        if (batch.start === 0) {
          rejects = []
          await writer.open(batch.job.index)
        }
        rejects.push(...batch.rejects)
        const dropped = await writer.append(batch.batch)
        for (const { index, column } of dropped) {
          const { key, uri } = batch.rows[index]!
          const message = `the model's output "${column}" is not finite (float16 ends at 65504; try --dtype float32)`
          const reject: Reject = { key, uri, stage: 'encode', code: 'non_finite', message }
          rejects.push({ position: batch.positions[index]!, reject })
        }
        meter.images += batch.entries.length
        meter.rejects += batch.rejects.length + dropped.length
        return batch.last ? commitUnit(batch.job.index) : null
      })
    },
  }
}

/** Always the same order of fields, so that the bytes repeat. */
function encodeReject({ key, uri, stage, code, message }: Reject): string {
  return JSON.stringify({ key, uri, stage, code, message })
}

/** A part of this name without a commit is our own work of an earlier attempt, or another worker's: the same bytes. */
async function assertSamePart(store: Store, name: string, sha256: string): Promise<void> {
  const there = await store.sha256(name)
  if (there === sha256) return
  throw new VtpError(`${name} in ${store.uri} exists with other content than this run would write (sha256 ${there})`, {
    code: 'part_conflict',
    suggestions: [
      'another kind of machine may have written it: run all workers on one kind',
      `delete ${name} if it is not needed, or start anew with --overwrite`,
    ],
  })
}
