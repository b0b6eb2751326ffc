/**
 * `vtp pretrain SOURCE --stage decoder`: latents once, then steps from the newest state in DEST to the last one. The
 * state after a step is a pure function of the plan and the number of the step. The tokenizer takes no part in a step,
 * and that is checked: before the first one, at every checkpoint, and after the last one.
 */
import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { writeAtomically } from '../../io/atomic.js'
import type { Store } from '../../io/store.js'
import { MANIFEST } from '../../pipeline/ledger/layout.js'
import { LOG, listCheckpoints, newestState, removeOldStates, type SavedState, statePath } from '../../train/folder.js'
import { openLog, type RunLog } from '../../train/log.js'
import { isDue, runLoop, type StepOutcome } from '../../train/loop.js'
import { writeReport } from '../../train/report-page.js'
import { inRunFolder } from '../../train/run-folder.js'
import { assertStep } from '../checkpoint.js'
import type { GanBatch } from '../gan.js'
import { type Best, bestOf, lastJudged } from '../judge.js'
import { drawSheet, judgeModel, lookAt, looksDue } from '../looks.js'
import type { ReportRecord } from '../report-parts.js'
import { checkLatents, checkTokenizer } from './check.js'
import { type DecoderPlan, decoderPlans } from './plan.js'
import { CHECKED_ROWS, checkDecoderRequest, type PreparedDecoder, prepareDecoder } from './prepare.js'
import { renderDecoderReport } from './report.js'
import type { DecoderRecord, DecoderRequest, DecoderResult } from './request.js'
import { type DecoderThread, openDecoderThread } from './thread.js'

/** A checkpoint is a folder. */
const ENDING = ''
/** Rows whose latents are computed anew with every checkpoint. */
const CHECKPOINT_ROWS = 2
const BEFORE = '_vtp/before.json'

/** Trains the decoder; resumable. Throws VtpErrors. */
export async function runDecoderStage(request: DecoderRequest): Promise<DecoderResult> {
  const { dest, overwrite, onNote, source, latents, init, recipe, weights, evaluation } = request
  const options = {
    ...({ dest, overwrite, onNote, ending: ENDING, loadPlan: decoderPlans.load } as const),
    ...{ sources: [source, latents], reads: [init, recipe, weights, evaluation?.source, evaluation?.probeTrain] },
    check: () => checkDecoderRequest({ ...request, onNote: undefined }),
  }
  return inRunFolder(options, async (store) => {
    const prepared = await prepareDecoder(request)
    if (!('pairs' in prepared)) return stoppedEarly(prepared.steps)
    try {
      return await trainIn(store, prepared, request)
    } finally {
      await prepared.pairs.close()
    }
  })
}

/** While latents were made. */
function stoppedEarly(steps: number): DecoderResult {
  return {
    ...{ step: 0, steps, newSteps: 0, images: 0, rejects: {}, seconds: 0, total: null, before: null },
    ...{ evaluation: null, best: null, checkpoint: null, parameters: 0, interrupted: true, complete: false },
  }
}

async function trainIn(store: Store, prepared: PreparedDecoder, request: DecoderRequest): Promise<DecoderResult> {
  const { recipe, pairs, steps, parameters, folder } = prepared
  const { dest, seed, threads, weights, cacheDir } = request
  const { plan, resumed } = await decoderPlans.settle(store, prepared.plan, dest)
  const from = await newestState(dest, ENDING)
  if (from) {
    await assertStep(dest, from)
    await checkTokenizer(folder, path.join(dest, from.name))
  }
  const before = await lookBefore(store, prepared, request)
  const { batch, image_size: size } = recipe.config
  const thread = await openDecoderThread({
    ...{ recipe, threads, weights, cacheDir, latents: [batch, ...pairs.rows.shape] },
    place: { folder: from ? path.join(dest, from.name) : folder, seed, resumed: from !== undefined },
  })
  const first = from?.step ?? 0
  const log = await openLog<DecoderRecord>(path.join(dest, LOG), first, { after: 0, onNote: request.onNote })
  request.onStart?.({
    ...{ parameters, rows: pairs.rows.rows, batch, size, discStart: recipe.hyper_parameters.disc_start },
    ...{ before: before ? lastJudged([before]) : null, step: first, steps, resumed: resumed && from !== undefined },
  })
  const run = new DecoderRun({ prepared, plan, request, log, thread, store, before })
  try {
    return await run.steps(first, from)
  } finally {
    await Promise.allSettled([log.close(), thread.close()])
  }
}

/** The evaluation and the sheet of --init, once; the evaluation is a record of step 0. */
async function lookBefore(
  store: Store,
  { config, folder, latents }: PreparedDecoder,
  request: DecoderRequest,
): Promise<ReportRecord | undefined> {
  const { dest, evalEvery, samplesEvery, evaluation, stop } = request
  const parts = { request, config, transform: latents.transform, store }
  if (samplesEvery !== undefined && !stop?.aborted) await drawSheet(0, folder, parts)
  if (evalEvery === undefined || !evaluation) return undefined
  const file = path.join(dest, BEFORE)
  const known = await readFile(file, 'utf8').catch(() => undefined)
  if (known !== undefined) return JSON.parse(known) as ReportRecord
  const judged = await judgeModel(folder, parts)
  if (!judged) return undefined
  const record = { step: 0, ...judged.found, protocol: judged.protocol }
  await writeAtomically(file, (tmp) => writeFile(tmp, `${JSON.stringify(record)}\n`))
  return record
}

const isCheckpoint = ({ step, name }: SavedState): boolean => name === statePath(step, true, ENDING).name

interface DecoderRunParts {
  prepared: PreparedDecoder
  plan: DecoderPlan
  request: DecoderRequest
  log: RunLog<DecoderRecord>
  thread: DecoderThread
  store: Store
  before: ReportRecord | undefined
}

class DecoderRun {
  private readonly parts: DecoderRunParts

  constructor(parts: DecoderRunParts) {
    this.parts = parts
  }

  /** From step `first`, which is done and lies in `from` (undefined: nowhere in DEST), to the last one. */
  async steps(first: number, from: SavedState | undefined): Promise<DecoderResult> {
    const { prepared, request, log, store, before } = this.parts
    const { pairs, steps, saveEvery, parameters, config, latents, recipe } = prepared
    const { batch } = recipe.config
    const looked = { request, config, transform: latents.transform, store, log, report: () => this.report() }
    const { done, newest, interrupted, seconds } = await runLoop<GanBatch, DecoderRecord>(
      {
        ...{ dest: request.dest, ending: ENDING, log, batch, steps, saveEvery },
        ...{ keep: request.keep, checkpointSeconds: request.checkpointSeconds, stop: request.stop },
        kept: () => this.bestNames(),
        // What was judged can be the best one.
        checkpointDue: (step) => request.evaluation !== undefined && isDue(step, request.evalEvery),
        read: (step) => pairs.read(step),
        run: async (step, [given]) => ({ outcomes: [await this.step(step, given!)] }),
        write: (state) => this.write(state),
        looksDue: (step) => looksDue(request, step),
        lookAt: async (state) => {
          const isDone = await lookAt(state, looked)
          await this.tidy(state)
          return isDone
        },
        onProgress: request.onProgress,
      },
      first,
      from,
    )
    if (done >= steps) await this.finish(newest!)
    return {
      ...{ step: done, steps, newSteps: done - first, images: (done - first) * batch },
      ...{ rejects: prepared.rejects, seconds, total: log.records.at(-1)?.total ?? null },
      ...{ before: before ? lastJudged([before]) : null, evaluation: lastJudged(log.records) },
      ...{ best: this.best()[0] ?? null, checkpoint: newest?.name ?? null, parameters: parameters.decoder },
      ...{ interrupted: interrupted && done < steps, complete: done >= steps },
    }
  }

  /** The best checkpoint so far, if any was judged. */
  private best(): (Best & { checkpoint: string })[] {
    const best = bestOf(this.parts.log.records)
    return best ? [{ ...best, checkpoint: statePath(best.step, true, ENDING).name }] : []
  }

  private bestNames(): string[] {
    return this.best().map(({ checkpoint }) => checkpoint)
  }

  /** What was the best checkpoint until this one was judged need not stay. */
  private async tidy(state: SavedState): Promise<void> {
    const { dest, keep } = this.parts.request
    if (keep === undefined || !isCheckpoint(state)) return
    await removeOldStates(dest, state, ENDING, { keep, also: this.bestNames() })
  }

  private async step(step: number, batch: GanBatch): Promise<StepOutcome<DecoderRecord>> {
    const { thread, prepared } = this.parts
    const { log, seconds } = await thread.step(batch, step - 1)
    const { grad_norm, d_grad_norm, ...losses } = log as typeof log & { grad_norm: number; d_grad_norm: number }
    const { lr } = prepared.recipe.hyper_parameters
    return { record: { step, ...losses, grad_norm, d_grad_norm, lr }, seconds }
  }

  /** A checkpoint is compared, as a model, with the one that the run began from. */
  private async write({ step, name }: SavedState): Promise<void> {
    const { plan, request, thread, prepared } = this.parts
    const { hash, processor: _, ...settings } = plan
    const folder = path.join(request.dest, name)
    await thread.write(folder, { step, plan: hash, ...settings })
    if (!isCheckpoint({ step, name })) return
    await checkTokenizer(prepared.folder, folder)
    await this.checkLatents(folder, step === prepared.steps ? CHECKED_ROWS : CHECKPOINT_ROWS)
  }

  private checkLatents(model: string, rows: number): Promise<void> {
    const { pairs, latents } = this.parts.prepared
    return checkLatents({ model, pairs, plan: latents, device: this.parts.request.device, rows })
  }

  private async report(): Promise<void> {
    const { plan, request, log, prepared, before } = this.parts
    const { steps, parameters, recipe } = prepared
    const html = await renderDecoderReport({
      ...{ dest: request.dest, plan, parameters, steps, before, batch: recipe.config.batch },
      ...{ records: log.records, best: this.best()[0] },
    })
    await writeReport(request.dest, html)
  }

  private async finish(newest: SavedState): Promise<void> {
    const { plan, request, log, prepared, store, before } = this.parts
    await log.sync()
    await this.report()
    const { hash, processor, ...settings } = plan
    const checkpoints = (await listCheckpoints(request.dest, ENDING)).map(({ name }) => name)
    const best = this.best()[0]
    const manifest = {
      ...{ version: 1, kind: plan.kind, plan: hash, step: prepared.steps },
      images: prepared.steps * prepared.recipe.config.batch,
      parameters: prepared.parameters.decoder,
      checkpoint: newest.name,
      checkpoints,
      best: best && checkpoints.includes(best.checkpoint) ? best : null,
      before: before ?? null,
      log: LOG,
      provenance: settings,
      processors: processor === undefined ? [] : [processor],
    }
    await store.put(MANIFEST, Buffer.from(`${JSON.stringify(manifest, null, 1)}\n`))
  }
}
