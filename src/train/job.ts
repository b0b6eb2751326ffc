/**
 * `vtp train`: steps from the newest state in DEST to the last one. A run is a pure function of its plan: the state
 * after step n, and the numbers of its log line, depend on nothing else, so that kills, other numbers of threads and
 * another folder change no bit of a checkpoint.
 */
import path from 'node:path'
import { usageError } from '../errors.js'
import { timeGrid } from '../generate/schedule.js'
import type { Store } from '../io/store.js'
import { encodeLatentsStats } from '../io/torch-stats.js'
import { ditName } from '../model/lightningdit/config.js'
import { ditParameters } from '../model/lightningdit/tensors.js'
import { LATENTS_STATS } from '../pipeline/ledger/layout.js'
import { LOG, newestState } from './folder.js'
import { openLog } from './log.js'
import { openEngine, openFirstState } from './open-state.js'
import { trainPlans } from './plan.js'
import { type PreparedTrain, prepareTrain } from './prepare.js'
import { readTrainRecipe } from './recipe.js'
import type { TrainRequest, TrainResult } from './request.js'
import { TrainRun } from './run.js'
import { inRunFolder, type RunFolderOptions } from './run-folder.js'
import { assertDecodes, assertJudges, type SamplingOptions } from './sampling.js'

/** Runs the training; resumable. Throws VtpErrors. */
export async function runTrain(request: TrainRequest): Promise<TrainResult> {
  const { dest, overwrite, onNote } = request
  const folder = path.join(dest, '_vtp', 'rows')
  const named = await inputsOf(request)
  const check = async (): Promise<void> => {
    const prepared = await prepareTrain({ ...request, onNote: undefined }, { folder, look: true })
    await assertLooks(prepared, request).finally(prepared.close)
  }
  const options = { dest, overwrite, onNote, ending: '.pt' as const, loadPlan: trainPlans.load, check, ...named }
  return inRunFolder(options, async (store) => {
    const prepared = await prepareTrain(request, { folder })
    try {
      return await trainIn(store, prepared, request)
    } finally {
      await prepared.close()
    }
  })
}

/** What of other places is read, by the request or by its configuration. */
async function inputsOf(request: TrainRequest): Promise<Pick<RunFolderOptions, 'sources' | 'reads'>> {
  const { latents, replay, init, ditConfig, stats, evaluation } = request
  const recipe = ditConfig === undefined ? undefined : await readTrainRecipe(ditConfig)
  const data = replay === undefined ? (latents ?? recipe?.dataPath) : undefined
  return { sources: [data], reads: [replay, init ?? recipe?.weightInit, ditConfig, stats, evaluation?.reference] }
}

async function trainIn(store: Store, prepared: PreparedTrain, request: TrainRequest): Promise<TrainResult> {
  const { dest } = request
  const sampling = samplingOf(prepared, request)
  await assertLooks(prepared, request)
  const { plan, resumed } = await trainPlans.settle(store, prepared.plan, dest)
  if (prepared.stats) await store.put(LATENTS_STATS, encodeLatentsStats(prepared.stats.mean, prepared.stats.std))
  const from = await newestState(dest, '.pt')
  const first = await openFirstState(prepared, plan.seed, from, dest)
  const opened = await openEngine(prepared.settings, first, request).finally(first.close)
  const log = await openLog(path.join(dest, LOG), first.step, {
    after: prepared.start?.step ?? 0,
    onNote: request.onNote,
  })
  request.onStart?.({
    model: ditName(prepared.config),
    parameters: ditParameters(prepared.config),
    rows: prepared.source.rows,
    batch: plan.batch,
    microBatch: plan.microBatch,
    step: first.step,
    steps: prepared.steps,
    resumed: resumed && from !== undefined,
  })
  const { updates } = first
  const run = new TrainRun({ prepared, plan, request, log, step: opened, updates, sampling, store })
  try {
    return await run.steps(first.step, from)
  } finally {
    await Promise.allSettled([log.close(), opened.close()])
  }
}

function samplingOf({ recipe, plan }: PreparedTrain, request: TrainRequest): SamplingOptions {
  const { sampling, onNote, stop } = request
  return { ...sampling, model: sampling.model ?? recipe?.vtpModel ?? 'nano', seed: plan.seed, onNote, stop }
}

/** What is wrong with samples and evaluations is told before the first step, not when they are first due. */
async function assertLooks(prepared: PreparedTrain, request: TrainRequest): Promise<void> {
  if (request.samplesEvery === undefined && request.evalEvery === undefined) return
  const sampling = samplingOf(prepared, request)
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
  timeGrid(sampling.steps, sampling.timestepShift)
  if (!(sampling.timestepShift >= 0))
    throw usageError('bad_timestep_shift', `--timestep-shift ${sampling.timestepShift} is not 0 or more`, [
      'leave it out: 0 is no shift',
    ])
  if (request.evalEvery !== undefined) await assertJudges(request.evaluation!)
}
