/** The steps of `vtp train` in the loop of every training, and what is made of them. */
import path from 'node:path'
import type { Store } from '../io/store.js'
import { ditParameters } from '../model/lightningdit/tensors.js'
import { LATENTS_STATS, MANIFEST } from '../pipeline/ledger/layout.js'
import { writeCheckpoint } from './checkpoint.js'
import { pictureName, type SavedState } from './folder.js'
import type { LogRecord, RunLog } from './log.js'
import { isDue, runLoop, type StepOutcome } from './loop.js'
import { trainManifest } from './manifest.js'
import { nonFiniteError } from './not-finite.js'
import type { TrainPlan } from './plan.js'
import type { PreparedTrain } from './prepare.js'
import { renderTrainReport } from './report.js'
import { writeReport } from './report-page.js'
import type { TrainRequest, TrainResult } from './request.js'
import { evaluateSamples, makeSampleGrid, type Sampled, type SamplingOptions } from './sampling.js'
import { rateAt } from './schedule.js'
import type { TrainBatch, TrainStep } from './step.js'

export interface TrainRunParts {
  prepared: PreparedTrain
  plan: TrainPlan
  request: TrainRequest
  log: RunLog<LogRecord>
  step: TrainStep
  /** Steps that the optimiser has not counted: those before train.py resumed. */
  behind: number
  sampling: SamplingOptions
  store: Store
}

const mean = (values: Float32Array): number => values.reduce((sum, value) => sum + value, 0) / values.length

/** The loop of steps, with what this training writes, draws and judges. */
export class TrainRun {
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

  private async step(step: number, batch: TrainBatch, newest: SavedState | undefined): Promise<StepOutcome<LogRecord>> {
    const { prepared, plan } = this.parts
    const { rows } = prepared.source
    const lr = rateAt(prepared.schedule, step)
    const result = await this.parts.step.run(batch, { step: step - this.parts.behind, lr })
    if (!result.finite)
      throw await nonFiniteError(step, result, { source: prepared.source, dest: this.parts.request.dest, newest })
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
      updates: step - this.parts.behind,
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
