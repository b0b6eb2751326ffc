/**
 * `vtp train`: steps from the newest state in DEST to the last one. A run is a pure function of its plan: the state
 * after step n, and the numbers of its log line, depend on nothing else, so that kills, other numbers of threads and
 * another folder change no bit of a checkpoint.
 */
import path from 'node:path'
import { usageError, VtpError } from '../errors.js'
import type { Store } from '../io/store.js'
import { encodeLatentsStats } from '../io/torch-stats.js'
import { ditName } from '../model/lightningdit/config.js'
import { checkDitTensors, ditParameters } from '../model/lightningdit/tensors.js'
import { LATENTS_STATS, MANIFEST } from '../pipeline/ledger/layout.js'
import { openStart, writeCheckpoint } from './checkpoint.js'
import { LOG, newestState, pictureName, type SavedState } from './folder.js'
import { freshTensor } from './init.js'
import { type LogRecord, openLog, type RunLog } from './log.js'
import { isDue, runLoop, type StepOutcome } from './loop.js'
import { trainManifest } from './manifest.js'
import { loadTrainPlan, settleTrainPlan, type TrainPlan } from './plan.js'
import { type PreparedTrain, prepareTrain } from './prepare.js'
import { renderTrainReport } from './report.js'
import { writeReport } from './report-page.js'
import type { TrainRequest, TrainResult } from './request.js'
import { inRunFolder } from './run-folder.js'
import { assertDecodes, evaluateSamples, makeSampleGrid, type Sampled, type SamplingOptions } from './sampling.js'
import { rateAt } from './schedule.js'
import { type InitialState, openTrainStep, type StepResult, type TrainBatch, type TrainStep } from './step.js'

/** Runs the training; resumable. Throws VtpErrors. */
export async function runTrain(request: TrainRequest): Promise<TrainResult> {
  const { dest, overwrite, onNote } = request
  return inRunFolder({ dest, overwrite, onNote, ending: '.pt', loadPlan: loadTrainPlan }, async (store) => {
    const prepared = await prepareTrain(request, path.join(dest, '_vtp', 'rows'))
    try {
      return await trainIn(store, prepared, request)
    } finally {
      await prepared.close()
    }
  })
}

async function trainIn(store: Store, prepared: PreparedTrain, request: TrainRequest): Promise<TrainResult> {
  const { dest } = request
  const sampling = samplingOf(prepared, request)
  const looks = request.samplesEvery !== undefined || request.evalEvery !== undefined
  if (looks) await assertCanSample(prepared, request, sampling)
  const { plan, resumed } = await settleTrainPlan(store, prepared.plan, dest)
  if (prepared.stats) await store.put(LATENTS_STATS, encodeLatentsStats(prepared.stats.mean, prepared.stats.std))
  const from = await newestState(dest, '.pt')
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
  log: RunLog<LogRecord>
  step: TrainStep
  sampling: SamplingOptions
  store: Store
}

const mean = (values: Float32Array): number => values.reduce((sum, value) => sum + value, 0) / values.length

class TrainRun {
  private readonly parts: TrainRunParts

  constructor(parts: TrainRunParts) {
    this.parts = parts
  }

  /** From step `first`, which is done and lies in `from` (undefined: nowhere in DEST), to the last one. */
  async steps(first: number, from: SavedState | undefined): Promise<TrainResult> {
    const { prepared, plan, request, log } = this.parts
    const { source, steps } = prepared
    const { done, newest, interrupted, seconds } = await runLoop<TrainBatch, LogRecord>(
      {
        ...{ dest: request.dest, ending: '.pt', log, batch: plan.batch, steps, saveEvery: prepared.saveEvery },
        ...{ keep: request.keep, checkpointSeconds: request.checkpointSeconds, stop: request.stop },
        read: (step) => source.read(step),
        run: (step, batch, newest) => this.step(step, batch, newest),
        write: (state) => this.write(state),
        looksDue: (step) => this.looksDue(step),
        lookAt: (state) => this.lookAt(state),
        onProgress: (progress) => request.onProgress?.({ ...progress, ...lastFid(log.records) }),
      },
      first,
      from,
    )
    if (done >= steps) await this.finish(newest)
    const last = log.records.at(-1)
    return {
      step: done,
      steps,
      newSteps: done - first,
      images: (done - first) * plan.batch,
      seconds,
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

  private async step(step: number, batch: TrainBatch, newest: SavedState | undefined): Promise<StepOutcome<LogRecord>> {
    const { prepared, plan } = this.parts
    const { rows } = prepared.source
    const lr = rateAt(prepared.schedule, step)
    const result = await this.parts.step.run(batch, { step, lr })
    if (!result.finite) throw await this.notFinite(step, result, newest)
    const mse = mean(result.mse)
    const cos = result.cos && mean(result.cos)
    const record = {
      step,
      mse,
      ...(cos !== undefined && { cos }),
      total: mse + (cos ?? 0),
      gradNorm: result.gradNorm,
      lr,
      ...(rows !== undefined && { epoch: (step * plan.batch) / rows }),
    }
    return { record, seconds: result.seconds }
  }

  private async write({ step, name }: SavedState): Promise<void> {
    const { prepared, plan, request } = this.parts
    await writeCheckpoint(path.join(request.dest, name), {
      config: prepared.config,
      step,
      lr: rateAt(prepared.schedule, step),
      optimizer: prepared.settings.optimizer,
      recipe: plan.recipe,
      read: (kind, tensor) => this.parts.step.read(kind, tensor),
    })
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
    if (isDue(step, request.samplesEvery) && !(await store.stat(pictureName(step)))) {
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
    await writeReport(
      request.dest,
      await renderTrainReport({ dest: request.dest, plan, records: log.records, steps: prepared.steps }),
    )
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
