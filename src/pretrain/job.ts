/**
 * `vtp pretrain SOURCE`: steps from the newest state in DEST to the last one. The state after a step is a pure function
 * of the plan and the number of the step: kills, other numbers of threads and workers and another folder change no bit
 * of a checkpoint.
 */
import path from 'node:path'
import type { Store } from '../io/store.js'
import { MANIFEST } from '../pipeline/ledger/layout.js'
import { LOG, listCheckpoints, newestState, type SavedState } from '../train/folder.js'
import { openLog, type RunLog } from '../train/log.js'
import { runLoop, type StepOutcome } from '../train/loop.js'
import { writeReport } from '../train/report-page.js'
import { inRunFolder } from '../train/run-folder.js'
import { createAlarms } from './alarms.js'
import type { PretrainBatch } from './batch-reader.js'
import { assertStep } from './checkpoint.js'
import { type JointThread, openJointThread } from './joint-thread.js'
import { lastJudged } from './judge.js'
import { lookAt, looksDue } from './looks.js'
import { type PretrainPlan, pretrainPlans } from './plan.js'
import { judgedParts, type PreparedPretrain, preparePretrain } from './prepare.js'
import { renderPretrainReport } from './report.js'
import type { PretrainRecord, PretrainRequest, PretrainResult } from './request.js'

/** A checkpoint is a folder. */
export const CHECKPOINT_ENDING = ''

/** Runs the pre-training; resumable. Throws VtpErrors. */
export async function runPretrain(request: PretrainRequest): Promise<PretrainResult> {
  const { dest, overwrite, onNote, source, init, recipe, weights, evaluation } = request
  return inRunFolder(
    {
      ...{ dest, overwrite, onNote, ending: CHECKPOINT_ENDING, loadPlan: pretrainPlans.load },
      sources: [source],
      reads: [init, recipe, weights, evaluation?.source, evaluation?.probeTrain],
      async check() {
        // Standard input is read once.
        if (source === '-') return
        const { data } = await preparePretrain({ ...request, onNote: undefined })
        await data.close()
      },
    },
    async (store) => {
      const prepared = await preparePretrain(request)
      try {
        return await pretrainIn(store, prepared, request)
      } finally {
        await prepared.data.close()
      }
    },
  )
}

async function pretrainIn(store: Store, prepared: PreparedPretrain, request: PretrainRequest): Promise<PretrainResult> {
  const { recipe, data, config, steps, parameters } = prepared
  const { dest, seed, init, threads, weights, cacheDir } = request
  const { plan, resumed } = await pretrainPlans.settle(store, prepared.plan, dest)
  const from = await newestState(dest, CHECKPOINT_ENDING)
  if (from) await assertStep(dest, from)
  const thread = await openJointThread({
    ...{ recipe, shapes: data.shapes, threads, weights, cacheDir },
    start: from
      ? { folder: path.join(dest, from.name), seed, resumed: { done: from.step } }
      : init === undefined
        ? { seed }
        : { folder: init, seed },
  })
  const first = from?.step ?? 0
  const log = await openLog<PretrainRecord>(path.join(dest, LOG), first, { after: 0, onNote: request.onNote })
  const { clip, ssl, rec } = data.plan
  request.onStart?.({
    ...{ parameters, images: data.rows, batch: { clip, ssl, rec }, captions: data.captions },
    ...{ step: first, steps, resumed: resumed && from !== undefined },
  })
  const run = new PretrainRun({ prepared, plan, request, log, thread, store, config })
  try {
    return await run.steps(first, from)
  } finally {
    await Promise.allSettled([log.close(), thread.close()])
  }
}

interface PretrainRunParts {
  prepared: PreparedPretrain
  plan: PretrainPlan
  request: PretrainRequest
  log: RunLog<PretrainRecord>
  thread: JointThread
  store: Store
  config: PreparedPretrain['config']
}

class PretrainRun {
  private readonly parts: PretrainRunParts
  private readonly alarms
  private readonly rejects: Record<string, number> = {}

  constructor(parts: PretrainRunParts) {
    this.parts = parts
    this.alarms = createAlarms(parts.prepared.recipe.config.head.K)
  }

  /** From step `first`, which is done and lies in `from` (undefined: nowhere in DEST), to the last one. */
  async steps(first: number, from: SavedState | undefined): Promise<PretrainResult> {
    const { prepared, request, log, store, config } = this.parts
    const { data, steps, saveEvery, parameters } = prepared
    const { images } = data.plan
    const size = prepared.recipe.config.image_size
    const judged = judgedParts(config, prepared.recipe)
    const transform = `resize(${size},${size},bicubic)`
    const { done, newest, interrupted, seconds } = await runLoop<PretrainBatch, PretrainRecord>(
      {
        ...{ dest: request.dest, ending: CHECKPOINT_ENDING, log, batch: images, steps, saveEvery },
        ...{ keep: request.keep, checkpointSeconds: request.checkpointSeconds, stop: request.stop },
        read: (step) => data.read(step),
        run: async (step, [batch]) => ({ outcomes: [await this.step(step, batch!)] }),
        write: (state) => this.write(state),
        looksDue: (step) => looksDue(request, step),
        lookAt: (state) =>
          lookAt(state, { request, config: judged, transform, store, log, report: () => this.report() }),
        onProgress: (progress) => {
          for (const message of this.alarms.check(log.records)) request.onNote?.(`Step ${progress.step}: ${message}`)
          request.onProgress?.(progress)
        },
      },
      first,
      from,
    )
    if (done >= steps) await this.finish()
    return {
      ...{ step: done, steps, newSteps: done - first, images: (done - first) * images },
      ...{ rejects: this.rejects, seconds, total: log.records.at(-1)?.total ?? null },
      evaluation: lastJudged(log.records),
      ...{ checkpoint: newest?.name ?? null, parameters, alarms: [...this.alarms.rung] },
      ...{ interrupted: interrupted && done < steps, complete: done >= steps },
    }
  }

  private async step(step: number, { tensors, rejects }: PretrainBatch): Promise<StepOutcome<PretrainRecord>> {
    const { recipe } = this.parts.prepared
    const result = await this.parts.thread.step(tensors, recipe.hyper_parameters.first_iter + step - 1)
    for (const { code } of rejects) this.rejects[code] = (this.rejects[code] ?? 0) + 1
    const replaced = rejects.length > 0 ? { replaced: rejects.length } : {}
    return { record: { step, ...result.log, ...result.signals, ...replaced }, seconds: result.seconds }
  }

  private async write({ step, name }: SavedState): Promise<void> {
    const { plan, request, thread } = this.parts
    const { hash, processor: _, ...settings } = plan
    await thread.write(path.join(request.dest, name), {
      exported: request.exported,
      note: { step, plan: hash, ...settings },
    })
  }

  private async report(): Promise<void> {
    const { plan, request, log, prepared } = this.parts
    const { steps, parameters, data } = prepared
    const html = await renderPretrainReport({
      ...{ dest: request.dest, plan, parameters, steps, images: data.plan.images },
      records: log.records,
    })
    await writeReport(request.dest, html)
  }

  private async finish(): Promise<void> {
    const { plan, request, log, prepared, store } = this.parts
    await log.sync()
    await this.report()
    const { hash, processor, ...settings } = plan
    const checkpoints = await listCheckpoints(request.dest, CHECKPOINT_ENDING)
    const manifest = {
      ...{ version: 1, kind: plan.kind, plan: hash, step: prepared.steps },
      ...{ images: prepared.steps * prepared.data.plan.images, parameters: prepared.parameters },
      checkpoint: checkpoints.at(-1)?.name ?? null,
      checkpoints: checkpoints.map(({ name }) => name),
      log: LOG,
      provenance: settings,
      processors: processor === undefined ? [] : [processor],
    }
    await store.put(MANIFEST, Buffer.from(`${JSON.stringify(manifest, null, 1)}\n`))
  }
}
