/** The steps of `vtp train` in the loop of every training, and what is made of them. */
import path from 'node:path'
import type { Store } from '../io/store.js'
import { ditParameters } from '../model/lightningdit/tensors.js'
import { LATENTS_STATS, MANIFEST } from '../pipeline/ledger/layout.js'
import { writeCheckpoint } from './checkpoint.js'
import { pictureName, type SavedState } from './folder.js'
import type { LogRecord, RunLog } from './log.js'
import { isDue, type RunOutcome, runLoop, type StepOutcome } from './loop.js'
import { MOST_OVERFLOWS } from './loss-scale.js'
import { trainManifest } from './manifest.js'
import { nonFiniteError, overflowError } from './not-finite.js'
import { createPace, type Pace } from './pace.js'
import type { TrainPlan } from './plan.js'
import type { PreparedTrain } from './prepare.js'
import { renderTrainReport } from './report.js'
import { writeReport } from './report-page.js'
import type { TrainRequest, TrainResult } from './request.js'
import { evaluateSamples, makeSampleGrid, type Sampled, type SamplingOptions } from './sampling.js'
import { rateAt } from './schedule.js'
import type { StepResult, TrainBatch, TrainStep } from './step.js'

export interface TrainRunParts {
  prepared: PreparedTrain
  plan: TrainPlan
  request: TrainRequest
  log: RunLog<LogRecord>
  step: TrainStep
  /** Steps that the optimiser has counted: fewer than were done where train.py resumed, or gradients overflowed. */
  updates: number
  sampling: SamplingOptions
  store: Store
}

const mean = (values: Float32Array): number => values.reduce((sum, value) => sum + value, 0) / values.length

/** The loop of steps, with what this training writes, draws and judges. */
export class TrainRun {
  private readonly parts: TrainRunParts
  private readonly pace: Pace
  private updates: number
  /** Steps in a row whose gradients have overflowed. */
  private overflows = 0

  constructor(parts: TrainRunParts) {
    this.parts = parts
    this.updates = parts.updates
    this.pace = createPace(parts.prepared)
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
        atOnce: () => this.pace.steps(),
        run: (step, batches, newest) => this.run(step, batches, newest),
        write: (state) => this.write(state),
        looksDue: (step) => this.looksDue(step),
        lookAt: (state) => this.lookAt(state),
        onProgress: (progress) => request.onProgress?.({ ...progress, ...lastFid(log.records) }),
      },
      first,
      from,
    )
    if (done >= steps) await this.finish(newest)
    const own = log.records.filter(({ step }) => step > first)
    if (own.length > 0 && own.every(({ skipped }) => skipped))
      request.onNote?.(
        `Nothing was learned: gradients overflowed in all ${own.length} steps, which changed no weight. Give a smaller --loss-scale, or leave it dynamic.`,
      )
    const last = log.records.at(-1)
    return {
      step: done,
      steps,
      newSteps: done - first,
      images: done * plan.batch,
      newImages: (done - first) * plan.batch,
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

  /** Steps from `first` on, up to one that fails. */
  private async run(
    first: number,
    batches: TrainBatch[],
    newest: SavedState | undefined,
  ): Promise<RunOutcome<LogRecord>> {
    const { prepared, step, request } = this.parts
    const lrs = batches.map((_, i) => rateAt(prepared.schedule, first + i))
    const rates = lrs.map((lr, i) => ({ step: this.updates + 1 + i, lr }))
    const started = performance.now()
    const results = await step.runSteps(batches, rates)
    this.pace.took(results.length, (performance.now() - started) / 1000)
    const outcomes: StepOutcome<LogRecord>[] = []
    for (const [i, result] of results.entries()) {
      const parts = { source: prepared.source, dest: request.dest, newest }
      if (!result.finite) return { outcomes, failure: await nonFiniteError(first + i, result, parts) }
      this.overflows = result.skipped ? this.overflows + 1 : 0
      if (this.overflows === MOST_OVERFLOWS) return { outcomes, failure: overflowError(first + i, result, parts) }
      if (!result.skipped) this.updates++
      outcomes.push(this.outcome(first + i, result, lrs[i]!))
    }
    return { outcomes }
  }

  private outcome(step: number, result: StepResult, lr: number): StepOutcome<LogRecord> {
    const { plan, prepared } = this.parts
    const { rows } = prepared.source
    const mse = mean(result.mse)
    const cos = result.cos && mean(result.cos)
    const record = {
      step,
      mse,
      ...(cos !== undefined && { cos }),
      total: mse + (cos ?? 0),
      // JSON has no infinity.
      gradNorm: result.skipped ? null : result.gradNorm,
      lr,
      ...(result.lossScale !== undefined && { lossScale: result.lossScale }),
      ...(result.skipped && { skipped: true as const }),
      ...(rows !== undefined && { epoch: (step * plan.batch) / rows }),
    }
    return { record, seconds: result.seconds }
  }

  private async write({ step, name }: SavedState): Promise<void> {
    const { prepared, plan, request } = this.parts
    await writeCheckpoint(path.join(request.dest, name), {
      config: prepared.config,
      step,
      updates: this.updates,
      lossScale: prepared.settings.inEngine?.lossScale === 'dynamic' ? this.parts.step.lossScale() : undefined,
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
}

const lastFid = (records: readonly LogRecord[]): { fid?: number } => {
  const fid = records.findLast((record) => record.fid !== undefined)?.fid
  return fid === undefined ? {} : { fid }
}
