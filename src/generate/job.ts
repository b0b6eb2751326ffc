/**
 * `vtp generate` as a batch job: the units of the plan that have no commit yet are sampled, decoded and
 * written; a unit's commit comes last. Sample i is a function of the plan and of i alone, so batches, workers
 * and interruptions leave the same files. An image that an interrupted attempt has left is kept: it has its
 * name only once it is whole.
 */

import { mapOrdered } from '../async/stages.js'
import { type Device, laneThreads } from '../engine/device.js'
import { type ImageDecoder, openImageDecoder } from '../engine/image-decoder.js'
import { openSession, type Session } from '../engine/session.js'
import { createPool } from '../engine/session-pool.js'
import { VtpError } from '../errors.js'
import type { Store } from '../io/store.js'
import { compileDit } from '../model/dit.js'
import type { Precision } from '../model/index.js'
import { emptyTotals, type Totals, totalsSoFar } from '../pipeline/ledger/finalize.js'
import { commitWaitMs, type JobRequest, runJob, type StartedUnit } from '../pipeline/ledger/job.js'
import { isSampleImage, sampleImageName } from '../pipeline/ledger/layout.js'
import { checkProcessor } from '../pipeline/ledger/processor.js'
import { promisedSums } from '../pipeline/ledger/repair.js'
import { createMeter, type Meter, type ProgressSnapshot } from '../pipeline/stream/meter.js'
import { createDitModel, type DitModel } from './evaluate.js'
import { type FinishedGenerate, finishGenerate } from './finish.js'
import { denormalise } from './latent-stats.js'
import { firstSample, type GeneratePlan } from './plan.js'
import { type GenerateOptions, type PreparedGenerate, prepareGenerate } from './prepare.js'
import { sample } from './samplers.js'
import { createUnitOutput, type DecodedBatch, type UnitOutput } from './unit-output.js'

export interface GenerateRequest extends GenerateOptions, JobRequest {
  /** Samples per run of the engine; guidance doubles the rows. It does not change the images. */
  batchSize: number
  /** What computes: every lane samples at once; the plan only knows its kind. */
  engine: Device
  /** Refuse to work on a run that another kind of processor has begun. */
  sameProcessor?: boolean
  /** Also write all images into samples.npz. */
  npz: boolean
  /** Where the transformer's graph is kept; default: with the others. */
  ditCacheDir?: string
  onStart?: (info: GenerateInfo) => void
  onProgress?: (snapshot: ProgressSnapshot) => void
}

export interface GenerateInfo {
  plan: GeneratePlan
  resumed: boolean
  unitsLeft: number
  prepared: PreparedGenerate
}

export interface GenerateResult extends Totals {
  newImages: number
  unitsDone: number
  unitsTotal: number
  seconds: number
  imagesPerSecond: number
  /** Rows of the transformer's batches of this run, guidance included, and how often the engine ran. */
  evaluations: number
  interrupted: boolean
  complete: boolean
  /** What was made of the images: names in DEST. */
  extras: string[]
  peakMemoryBytes: number
}

/** Runs the job; resumable. Throws VtpError. */
export async function runGenerate(request: GenerateRequest): Promise<GenerateResult> {
  const prepared = await prepareGenerate(request)
  try {
    await checkProcessor(prepared, request)
    return await generatePlan(prepared, request)
  } finally {
    await prepared.close()
  }
}

async function generatePlan(prepared: PreparedGenerate, request: GenerateRequest): Promise<GenerateResult> {
  const { plan, store } = prepared
  const began = performance.now()
  let meter: Meter | undefined
  let run = { images: 0, evaluations: 0, interrupted: false }
  const { result, complete, unitsDone } = await runJob<FinishedGenerate>({ store, plan }, request, {
    onStart({ done, imagesDone, left }) {
      request.onStart?.({ plan, resumed: prepared.resumed, unitsLeft: left.length, prepared })
      meter = createMeter({
        total: plan.num,
        doneBefore: imagesDone,
        unitsBefore: done.size,
        unitsTotal: plan.units.length,
        widths: { preprocess: 1, encode: 1, write: 1 },
      })
    },
    async work(units) {
      run = await generateUnits(prepared, request, meter!, units)
    },
    finish: () => finishGenerate(prepared, { npz: request.npz, grid: request.grid }),
    partial: async (committed) => ({ totals: await totalsSoFar(store, committed, emptyTotals()), extras: [] }),
  })
  const seconds = (performance.now() - began) / 1000
  return {
    ...result.totals,
    newImages: run.images,
    unitsDone,
    unitsTotal: plan.units.length,
    seconds,
    imagesPerSecond: run.images / Math.max(seconds, 1e-3),
    evaluations: run.evaluations,
    interrupted: run.interrupted && !complete,
    complete,
    extras: result.extras,
    peakMemoryBytes: process.resourceUsage().maxRSS * 1024,
  }
}

/** Sampling is always the bottleneck: it is not named. */
function progressOf(meter: Meter): ProgressSnapshot {
  return { ...meter.snapshot(), reads: false, bottleneck: null }
}

/** Consecutive samples of one unit that are sampled together. */
interface SampleJob {
  output: UnitOutput
  indices: number[]
  last: boolean
}

/** Samples that share a step size, or single ones. */
function groupsOf(first: number, rows: number, group: number): number[][] {
  return Array.from({ length: Math.ceil(rows / group) }, (_, g) =>
    Array.from({ length: Math.min(group, rows - g * group) }, (_, i) => first + g * group + i),
  )
}

/** The batches of a unit: whole groups, up to `batchSize` samples, without groups whose images exist. */
export function planBatches(
  first: number,
  rows: number,
  group: number,
  batchSize: number,
  exists: (index: number) => boolean,
): number[][] {
  const batches: number[][] = []
  for (const indices of groupsOf(first, rows, group)) {
    if (indices.every(exists)) continue
    const last = batches.at(-1)
    if (last && last.length + indices.length <= batchSize) last.push(...indices)
    else batches.push(indices)
  }
  return batches
}

async function openModels(
  prepared: PreparedGenerate,
  request: GenerateRequest,
): Promise<{ dit: DitModel; ditSession: Session; decoder: ImageDecoder }> {
  const { plan, model, dit, guidance } = prepared
  const { inputSize: size, inChannels } = dit.config
  const { engine, cacheDir } = request
  const precision = plan.precision as Precision
  const graph = await compileDit(
    dit,
    { guidedChannels: plan.guidance?.channels ?? 0, precision },
    request.ditCacheDir ?? cacheDir,
  )
  const sessions: Session[] = []
  try {
    for (const providers of engine.lanes)
      sessions.push(await openSession({ path: graph.path, threads: laneThreads(engine), providers: [...providers] }))
    const decoder = await openImageDecoder(model, 'pixels', {
      device: engine,
      grid: { height: size, width: size },
      precision,
      normalize: plan.normalize === 'half' ? 'half' : undefined,
      batchSize: request.batchSize,
    })
    const ditSession = sessions.length === 1 ? sessions[0]! : createPool(sessions)
    return { ditSession, decoder, dit: createDitModel(ditSession, [inChannels, size, size], guidance) }
  } catch (error) {
    await Promise.allSettled(sessions.map((session) => session.close()))
    throw error
  }
}

async function generateUnits(
  prepared: PreparedGenerate,
  request: GenerateRequest,
  meter: Meter,
  units: AsyncIterable<StartedUnit>,
): Promise<{ images: number; evaluations: number; interrupted: boolean }> {
  const { plan, store } = prepared
  const group = plan.sampler.adaptive?.group ?? 1
  const total = { images: 0, evaluations: 0, interrupted: false }
  // Images of earlier attempts: only those written now would be missed, and they are recognised when put.
  const images = new Set<string>()
  for await (const name of store.names('')) if (isSampleImage(name)) images.add(name)
  const { dit, ditSession, decoder } = await openModels(prepared, request)
  const open = new Set<UnitOutput>()
  const timer = setInterval(() => request.onProgress?.(progressOf(meter)), 200)

  async function* jobs(): AsyncGenerator<SampleJob> {
    for await (const started of units) {
      const unit = started.index
      const first = firstSample(plan, unit)
      const { rows } = plan.units[unit]!
      const sound = await soundImages(store, images, unit, first, rows)
      const keep = (index: number): boolean => plan.latents === null && sound.has(index)
      const waitMs = commitWaitMs(request)
      const output = await createUnitOutput({ store, prepared, started, first, rows, meter, waitMs })
      open.add(output)
      const batches = planBatches(first, rows, group, request.batchSize, keep)
      meter.images += rows - batches.reduce((sum, batch) => sum + batch.length, 0)
      for (const [i, indices] of batches.entries()) {
        if (request.stop?.aborted) break
        yield { output, indices, last: i === batches.length - 1 }
      }
      if (batches.length === 0) yield { output, indices: [], last: true }
    }
  }

  const sampleJob = async (job: SampleJob): Promise<{ job: SampleJob; latents: Float32Array } | undefined> => {
    if (request.stop?.aborted) return undefined
    const latents = await meter.clocks.encode.time(() => sampleBatch(prepared, dit, job.indices, request.stop, meter))
    return latents && { job, latents }
  }
  const decodeJob = async (
    sampled: { job: SampleJob; latents: Float32Array } | undefined,
  ): Promise<{ job: SampleJob; batch: DecodedBatch } | undefined> => {
    if (!sampled) return undefined
    const { job, latents } = sampled
    const count = job.indices.length
    const pixels = count === 0 ? new Uint8Array() : await decoder.decode(latents.slice(), count)
    return { job, batch: { indices: job.indices, latents, pixels } }
  }

  try {
    // On GPUs every lane has a batch, and one is decoded meanwhile. On a CPU that would only delay the moment
    // at which finished images are safe.
    const onCpu = request.device === 'cpu'
    const decoded = mapOrdered(mapOrdered(jobs(), request.engine.lanes.length, sampleJob), onCpu ? 1 : 2, decodeJob)
    for await (const result of decoded) {
      if (!result) continue
      const { job, batch } = result
      await meter.clocks.write.time(() => job.output.append(batch))
      if (!job.last) continue
      total.images += await job.output.commit()
      open.delete(job.output)
    }
    total.interrupted = request.stop?.aborted ?? false
  } finally {
    clearInterval(timer)
    await Promise.allSettled([...open].map((output) => output.abort()))
    await Promise.allSettled([ditSession.close(), decoder.close()])
  }
  total.evaluations = dit.rowsComputed
  request.onProgress?.(progressOf(meter))
  return total
}

/** Numbers of a unit's samples whose images are there; of a unit that was opened again, those that are as they were. */
async function soundImages(
  store: Store,
  images: ReadonlySet<string>,
  unit: number,
  first: number,
  rows: number,
): Promise<Set<number>> {
  const there = Array.from({ length: rows }, (_, i) => first + i).filter((index) => images.has(sampleImageName(index)))
  const promised = there.length > 0 ? await promisedSums(store, unit) : undefined
  if (!promised) return new Set(there)
  const sound = new Set<number>()
  for (const index of there) {
    const name = sampleImageName(index)
    if (promised.get(name) === (await store.sha256(name))) sound.add(index)
  }
  return sound
}

/** Denormalised latents [N, C, H, W] of the samples; undefined when stopped. Throws VtpError `non_finite`. */
async function sampleBatch(
  prepared: PreparedGenerate,
  dit: DitModel,
  indices: number[],
  stop: AbortSignal | undefined,
  meter: Meter,
): Promise<Float32Array | undefined> {
  const { plan, noise, labels, stats, grid } = prepared
  if (indices.length === 0) return new Float32Array(0)
  const [channels, height, width] = dit.shape
  const size = channels * height * width
  const start = new Float32Array(indices.length * size)
  for (const [i, index] of indices.entries()) start.set(await noise.read(index), i * size)
  const { method, adaptive } = plan.sampler
  const evaluations = (grid.length - 1) * (method === 'heun' ? 2 : 1)
  const settings = { method, grid, atol: adaptive?.atol ?? 0, rtol: adaptive?.rtol ?? 0, group: adaptive?.group ?? 1 }
  // A batch may take minutes: its share that is done counts, so that progress and the rest of the time are right.
  let counted = 0
  const count = (images: number): void => {
    meter.images += images - counted
    counted = images
  }
  let done = 0
  const samples = await sample(dit, settings, {
    noise: start,
    labels: indices.map((index) => labels[index]!),
    stop,
    onEvaluation: () => {
      done++
      if (method !== 'dopri5') count((indices.length * done) / evaluations)
    },
  })
  count(samples ? indices.length : 0)
  if (!samples) return undefined
  const latents = denormalise(samples, stats, plan.latentMultiplier, height * width)
  const bad = latents.findIndex((value) => !Number.isFinite(value))
  if (bad >= 0) {
    throw new VtpError(`Sample ${indices[Math.floor(bad / size)]} is not finite`, {
      code: 'non_finite',
      suggestions: ['check the checkpoint: a trained model gives finite samples', 'lower --cfg-scale'],
    })
  }
  return latents
}
