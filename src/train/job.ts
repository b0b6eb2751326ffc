/**
 * `vtp train`: steps from the newest state in DEST to the last one. A run is a pure function of its plan: the state
 * after step n, and the numbers of its log line, depend on nothing else, so that kills, other numbers of threads and
 * another folder change no bit of a checkpoint.
 *
 * Order at a step that is saved: the log's line, made durable; the checkpoint, which takes its name once it is whole;
 * then what is made of it (samples, evaluation, report), which a run that is taken up there makes up for.
 */
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { usageError, VtpError } from '../errors.js'
import { writeAtomically } from '../io/atomic.js'
import { claimFolder } from '../io/claim.js'
import { openStore } from '../io/open-store.js'
import { storageError } from '../io/storage-error.js'
import { type Store, uriScheme } from '../io/store.js'
import { encodeLatentsStats } from '../io/torch-stats.js'
import { ditName } from '../model/lightningdit/config.js'
import { checkDitTensors, ditParameters } from '../model/lightningdit/tensors.js'
import { LATENTS_STATS, MANIFEST } from '../pipeline/ledger/layout.js'
import { assertOwnFolders } from '../pipeline/ledger/open-run.js'
import { makeDest, removeRun } from '../pipeline/ledger/prepare-plan.js'
import { openStart, writeCheckpoint } from './checkpoint.js'
import { LOG, newestState, REPORT, removeOldStates, removeTraining, type SavedState, statePath } from './folder.js'
import { freshTensor } from './init.js'
import { type LogRecord, openLog, type TrainLog } from './log.js'
import { trainManifest } from './manifest.js'
import { loadTrainPlan, settleTrainPlan, type TrainPlan } from './plan.js'
import { type PreparedTrain, prepareTrain } from './prepare.js'
import { createTrainMeter } from './progress.js'
import { renderTrainReport } from './report.js'
import type { TrainRequest, TrainResult } from './request.js'
import {
  assertDecodes,
  evaluateSamples,
  gridName,
  makeSampleGrid,
  type Sampled,
  type SamplingOptions,
} from './sampling.js'
import { rateAt } from './schedule.js'
import { type InitialState, openTrainStep, type StepResult, type TrainStep } from './step.js'

/** Runs the training; resumable. Throws VtpErrors. */
export async function runTrain(request: TrainRequest): Promise<TrainResult> {
  const scheme = uriScheme(request.dest)
  if (scheme !== undefined)
    throw usageError('dest_not_local', `--out ${request.dest}: a training writes to a folder of this machine`, [
      'give a folder, and copy it to the bucket when the training is done',
    ])
  await makeDest(request.dest)
  const store = await openStore(request.dest)
  try {
    await assertOwnFolders(store)
    const claim = await claimFolder(path.join(request.dest, '_vtp', 'training'), request.dest, {
      onNote: request.onNote,
    })
    try {
      if (request.overwrite) await startAnew(store, request.dest)
      // A folder of another command is refused before anything is copied into it.
      await loadTrainPlan(store)
      const prepared = await prepareTrain(request, path.join(request.dest, '_vtp', 'rows'))
      try {
        return await trainIn(store, prepared, request)
      } finally {
        await prepared.close()
      }
    } finally {
      await claim.release()
    }
  } finally {
    await store.close()
  }
}

async function startAnew(store: Store, dest: string): Promise<void> {
  const isTraining = await loadTrainPlan(store).then(
    (plan) => plan !== undefined,
    () => false,
  )
  if (isTraining) await removeTraining(dest)
  await removeRun(store)
}

async function trainIn(store: Store, prepared: PreparedTrain, request: TrainRequest): Promise<TrainResult> {
  const { dest } = request
  const sampling = samplingOf(prepared, request)
  const looks = request.samplesEvery !== undefined || request.evalEvery !== undefined
  if (looks) await assertCanSample(prepared, request, sampling)
  const { plan, resumed } = await settleTrainPlan(store, prepared.plan, dest)
  if (prepared.stats) await store.put(LATENTS_STATS, encodeLatentsStats(prepared.stats.mean, prepared.stats.std))
  const from = await newestState(dest)
  const opened = await openState(prepared, plan, from, request)
  const first = from?.step ?? prepared.start?.step ?? 0
  const log = await openLog(path.join(dest, LOG), first)
  request.onStart?.({
    model: ditName(prepared.config),
    parameters: ditParameters(prepared.config),
    rows: prepared.source.rows,
    batch: plan.batch,
    microBatch: plan.microBatch,
    step: first,
    steps: prepared.steps,
    resumed: resumed && from !== undefined,
  })
  const run = new TrainRun({ prepared, plan, request, log, step: opened, sampling, store })
  try {
    return await run.steps(first, from)
  } finally {
    await Promise.allSettled([log.close(), opened.close()])
  }
}

function samplingOf({ recipe, plan }: PreparedTrain, request: TrainRequest): SamplingOptions {
  const { sampling, onNote, stop } = request
  return { ...sampling, model: sampling.model ?? recipe?.vtpModel ?? 'nano', seed: plan.seed, onNote, stop }
}

async function assertCanSample(
  prepared: PreparedTrain,
  request: TrainRequest,
  sampling: SamplingOptions,
): Promise<void> {
  const { path: way, prediction } = prepared.settings.transport
  if (way !== 'Linear' || prediction !== 'velocity')
    throw usageError(
      'unsupported_recipe',
      `Samples need the linear path and velocities; this training has ${way} and ${prediction}`,
      ['leave --samples-every and --eval-every out'],
    )
  if (request.evalEvery !== undefined && !request.evaluation)
    throw usageError('reference_missing', '--eval-every needs a set to compare samples with', [
      'give --reference FILE.npz: statistics by `vtp fid IMAGES --save-stats FILE.npz`, or images',
    ])
  await assertDecodes(sampling, prepared.source.shape)
}

/** The engine with the state to go on from: what DEST holds, else --init, else fresh weights. */
async function openState(
  prepared: PreparedTrain,
  plan: TrainPlan,
  from: SavedState | undefined,
  { dest, engine, threads, cacheDir }: TrainRequest,
): Promise<TrainStep> {
  const state = from ? await openStart(path.join(dest, from.name)) : prepared.start
  try {
    if (from) {
      checkDitTensors(prepared.config, state!.shapes, from.name)
      if (state!.step !== from.step)
        throw new VtpError(`${from.name} in ${dest} is of step ${state!.step}`, {
          code: 'bad_checkpoint',
          suggestions: ['remove that file: the training goes on from the one before it'],
        })
    }
    const fresh = freshTensor(prepared.config, plan.seed)
    const initial: InitialState = async (kind, name) => {
      if (state) return state.read(kind, name)
      const values = fresh(name)
      return kind === 'param' || kind === 'ema' ? values : values.fill(0)
    }
    const providers = [...engine.lanes[0]!]
    return await openTrainStep(prepared.settings, initial, { threads, cacheDir, providers })
  } finally {
    if (from) await state!.close()
  }
}

interface TrainRunParts {
  prepared: PreparedTrain
  plan: TrainPlan
  request: TrainRequest
  log: TrainLog
  step: TrainStep
  sampling: SamplingOptions
  store: Store
}

const mean = (values: Float32Array): number => values.reduce((sum, value) => sum + value, 0) / values.length
const isDue = (step: number, every: number | undefined): boolean => every !== undefined && step % every === 0
const DEFAULT_CHECKPOINT_SECONDS = 600

class TrainRun {
  private readonly parts: TrainRunParts
  private savedAt = performance.now()

  constructor(parts: TrainRunParts) {
    this.parts = parts
  }

  /** From step `first`, which is done and lies in `from` (undefined: nowhere in DEST), to the last one. */
  async steps(first: number, from: SavedState | undefined): Promise<TrainResult> {
    const { prepared, plan, request, log } = this.parts
    const { source, schedule, steps } = prepared
    const began = performance.now()
    const meter = createTrainMeter(steps, plan.batch)
    let newest = from
    let interrupted = request.stop?.aborted ?? false
    if (from && !interrupted) interrupted = !(await this.lookAt(from))
    let done = first
    let ahead = first < steps && !interrupted ? quietly(source.read(first + 1)) : undefined
    while (done < steps && !interrupted) {
      const started = performance.now()
      const batch = await ahead!
      const waited = performance.now()
      const step = done + 1
      ahead = step < steps ? quietly(source.read(step + 1)) : undefined
      const lr = rateAt(schedule, step)
      const result = await this.parts.step.run(batch, { step, lr })
      if (!result.finite) throw await this.notFinite(step, result, newest)
      const seconds = { data: (waited - started) / 1000, ...result.seconds, step: (performance.now() - started) / 1000 }
      const record = this.recordOf(step, lr, result, seconds)
      await log.append(record)
      done = step
      request.onProgress?.({ ...meter.add(step, record.total), ...lastFid(log.records) })
      const stopping = request.stop?.aborted ?? false
      const saved = await this.save(step, stopping)
      if (saved) {
        newest = saved
        // Whoever stops does not wait for pictures: the next run makes up for them.
        interrupted = stopping || !(await this.lookAt(saved))
        meter.pause()
      } else interrupted = stopping
    }
    await ahead?.catch(() => {})
    if (done >= steps) await this.finish(newest)
    const last = log.records.at(-1)
    return {
      step: done,
      steps,
      newSteps: done - first,
      images: (done - first) * plan.batch,
      seconds: (performance.now() - began) / 1000,
      mse: last?.mse ?? null,
      total: last?.total ?? null,
      fid: lastFid(log.records).fid ?? null,
      checkpoint: newest?.name ?? null,
      parameters: ditParameters(prepared.config),
      interrupted: interrupted && done < steps,
      complete: done >= steps,
      peakMemoryBytes: process.resourceUsage().maxRSS * 1024,
    }
  }

  private recordOf(step: number, lr: number, result: StepResult, seconds: LogRecord['seconds']): LogRecord {
    const { batch } = this.parts.plan
    const { rows } = this.parts.prepared.source
    const mse = mean(result.mse)
    const cos = result.cos && mean(result.cos)
    return {
      step,
      mse,
      ...(cos !== undefined && { cos }),
      total: mse + (cos ?? 0),
      gradNorm: result.gradNorm,
      lr,
      ...(rows !== undefined && { epoch: (step * batch) / rows }),
      imagesPerSecond: Number((batch / seconds.step).toFixed(3)),
      seconds: {
        data: Number(seconds.data.toFixed(4)),
        gradients: Number(seconds.gradients.toFixed(4)),
        optimizer: Number(seconds.optimizer.toFixed(4)),
        step: Number(seconds.step.toFixed(4)),
      },
    }
  }

  /** Writes the state where it is due: a checkpoint, or a point to resume from; undefined where nothing is due. */
  private async save(step: number, stopping: boolean): Promise<SavedState | undefined> {
    const { prepared, plan, request, log } = this.parts
    const isCheckpoint = isDue(step, prepared.saveEvery) || step === prepared.steps
    const every = (request.checkpointSeconds ?? DEFAULT_CHECKPOINT_SECONDS) * 1000
    const wanted = stopping || this.looksDue(step) || performance.now() - this.savedAt > every
    if (!isCheckpoint && !wanted) return undefined
    await log.sync()
    const state = statePath(step, isCheckpoint)
    await writeCheckpoint(path.join(request.dest, state.name), {
      config: prepared.config,
      step,
      lr: rateAt(prepared.schedule, step),
      optimizer: prepared.settings.optimizer,
      recipe: plan.recipe,
      read: (kind, name) => this.parts.step.read(kind, name),
    })
    await removeOldStates(request.dest, state, isCheckpoint ? request.keep : undefined)
    this.savedAt = performance.now()
    return state
  }

  private looksDue(step: number): boolean {
    const { samplesEvery, evalEvery } = this.parts.request
    return isDue(step, samplesEvery) || isDue(step, evalEvery)
  }

  /** Samples, evaluation and report of a saved step, as far as they are due and not there; false when stopped. */
  private async lookAt({ step, name }: SavedState): Promise<boolean> {
    const { prepared, plan, request, log, sampling, store } = this.parts
    const { dest, evaluation } = request
    const sampled: Sampled = {
      dest,
      stats: prepared.stats ? path.join(dest, LATENTS_STATS) : 'none',
      multiplier: plan.latentMultiplier,
      heads: prepared.config.numHeads,
    }
    const file = path.join(dest, name)
    if (isDue(step, request.samplesEvery) && !(await store.stat(gridName(step)))) {
      if (!(await makeSampleGrid(file, step, sampled, sampling))) return false
    }
    const last = log.records.at(-1)
    if (isDue(step, request.evalEvery) && evaluation && last?.step === step && last.fid === undefined) {
      const found = await evaluateSamples(file, step, sampled, sampling, evaluation)
      if (!found) return false
      await log.extend({ fid: found.fid, fidImages: evaluation.num, protocol: found.protocol })
    }
    await this.report()
    return true
  }

  private async report(): Promise<void> {
    const { plan, request, log, prepared } = this.parts
    const html = await renderTrainReport({ dest: request.dest, plan, records: log.records, steps: prepared.steps })
    const file = path.join(request.dest, REPORT)
    await writeAtomically(file, (tmp) => writeFile(tmp, html)).catch((error: unknown) => {
      throw storageError('Cannot write', file, error)
    })
  }

  private async finish(newest: SavedState | undefined): Promise<void> {
    const { plan, request, log, prepared, store } = this.parts
    await log.sync()
    await this.report()
    const manifest = await trainManifest(request.dest, plan, {
      step: newest?.step ?? prepared.steps,
      parameters: ditParameters(prepared.config),
    })
    await store.put(MANIFEST, Buffer.from(`${JSON.stringify(manifest, null, 1)}\n`))
  }

  private async notFinite(
    step: number,
    { mse, cos, gradNorm }: StepResult,
    newest: SavedState | undefined,
  ): Promise<VtpError> {
    const { prepared, request } = this.parts
    const bad = [...mse.keys()].filter((i) => !Number.isFinite(mse[i]!) || (cos && !Number.isFinite(cos[i]!)))
    const all = bad.length === 0
    const named = all ? [...mse.keys()] : bad
    const keys = await prepared.source
      .keys(step, named.slice(0, 8))
      .catch(() => named.slice(0, 8).map((i) => `sample ${i}`))
    const more = named.length > 8 ? ` and ${named.length - 8} more` : ''
    const what = all
      ? `the norm of the gradients is ${gradNorm}; the batch holds`
      : `the loss of ${bad.length} of ${mse.length} samples is not finite:`
    const there = newest
      ? `${path.join(request.dest, newest.name)} holds step ${newest.step}`
      : 'no checkpoint was written yet'
    return new VtpError(`Step ${step}: ${what} ${keys.join(', ')}${more}. Nothing of this step was applied; ${there}`, {
      code: 'non_finite_loss',
      suggestions: [
        'look at these latents (`vtp decode` shows them), and at the statistics that they are divided by',
        'train anew with a lower --lr, or with --max-grad-norm 1',
      ],
    })
  }
}

const lastFid = (records: readonly LogRecord[]): { fid?: number } => {
  const fid = records.findLast((record) => record.fid !== undefined)?.fid
  return fid === undefined ? {} : { fid }
}

/** A promise whose failure is dealt with when it is awaited. */
function quietly<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {})
  return promise
}
