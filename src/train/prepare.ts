/**
 * From what the user asked for to a plan and everything that it names, opened and checked against each other: data,
 * statistics, start, shape, settings.
 */
import path from 'node:path'
import { processorKind } from '../engine/processor.js'
import { usageError } from '../errors.js'
import type { LatentStats } from '../generate/latent-stats.js'
import { fileDigest } from '../io/file-digest.js'
import type { DitConfig } from '../model/lightningdit/config.js'
import { engineVersion, vtpVersion } from '../version.js'
import { openStart, type StartState } from './checkpoint.js'
import { findStats, type GivenData, openData } from './data.js'
import { type TimeLaw, timeInterval } from './draws.js'
import { latentSource } from './latents.js'
import { plainRecipe } from './plain-recipe.js'
import { type TrainPlan, type TrainPlanSettings, trainPlans } from './plan.js'
import { readTrainRecipe, type TrainRecipe } from './recipe.js'
import type { TrainRequest } from './request.js'
import type { OpenRowsOptions } from './row-files.js'
import type { LatentRows } from './rows.js'
import type { Schedule } from './schedule.js'
import {
  chooseBatch,
  chooseDropout,
  chooseMultiplier,
  chooseSteps,
  optimizerOf,
  scheduleOf,
  settingsOf,
} from './settings.js'
import { chooseConfig } from './shape.js'
import type { BatchSource } from './source.js'
import type { TrainSettings } from './step.js'
import { assertTensorFile } from './tensor-file-given.js'

export interface PreparedTrain {
  plan: TrainPlan
  config: DitConfig
  source: BatchSource
  settings: TrainSettings
  schedule: Schedule
  /** Number of the last step. */
  steps: number
  saveEvery: number
  /** Steps that one run of the engine takes; undefined: nobody asked. */
  stepsPerRun: number | undefined
  /** Undefined: fresh weights. */
  start: StartState | undefined
  stats: LatentStats | undefined
  recipe: TrainRecipe | undefined
  rows: LatentRows | undefined
  close(): Promise<void>
}

const DEFAULT_SAVE_EVERY = 1000

/** Opens and checks everything. `copies`: where latents are copied to, if they must be. Throws usage errors. */
export async function prepareTrain(
  request: TrainRequest,
  copies: Pick<OpenRowsOptions, 'folder' | 'look'>,
): Promise<PreparedTrain> {
  const closers: { close(): Promise<void> }[] = []
  const close = async (): Promise<void> => void (await Promise.allSettled(closers.map((each) => each.close())))
  try {
    const recipe = await openRecipe(request)
    const start = await openInit(request, recipe)
    if (start) closers.push(start)
    const given = await openData(request, recipe, copies)
    closers.push(given.opened)
    return { ...(await settle(request, { recipe, start, given })), close }
  } catch (error) {
    await close()
    throw error
  }
}

interface Opened {
  recipe: TrainRecipe | undefined
  start: StartState | undefined
  given: GivenData
}

async function settle(request: TrainRequest, { recipe, start, given }: Opened): Promise<Omit<PreparedTrain, 'close'>> {
  const config = await chooseConfig({
    ...{ size: request.size, heads: request.heads, numClasses: request.numClasses, recipe, start },
    latent: given.opened.shape,
    largestLabel: given.largestLabel,
    onNote: request.onNote ?? (() => {}),
  })
  const stats = given.rows && (await findStats(request, recipe, given.rows))
  const multiplier = chooseMultiplier(request, recipe)
  const batch = chooseBatch(request, recipe, given.replay?.batch)
  const optimizer = optimizerOf(request, recipe)
  const steps = chooseSteps(request, recipe)
  const schedule = scheduleOf(request, recipe, steps)
  const settings = settingsOf(request, recipe, { config, batch, optimizer })
  const lognorm = recipe ? recipe.lognorm : { mu: 0, sigma: 1 }
  const time: TimeLaw = {
    ...(lognorm && { lognorm }),
    interval: timeInterval(settings.transport, recipe?.trainEps),
  }
  const seed = request.seed ?? recipe?.seed ?? 0
  const labelDropout = chooseDropout(request)
  const planned: TrainPlanSettings = {
    ...{ version: 1, kind: 'train', seed, data: given.named },
    stats: stats ? { name: path.basename(stats.name), digest: stats.digest } : null,
    latentMultiplier: multiplier,
    init: start ? await namedStart(start, request.cacheDir) : null,
    ...{ model: config, batch, microBatch: settings.microBatch },
    ...{ checkpointActivations: settings.checkpointActivations, transport: settings.transport, time, labelDropout },
    ...{ cosineLoss: settings.cosineLoss, optimizer, schedule },
    ...plannedPrecision(settings, request),
    device: request.engine.kind,
    engine: engineVersion(),
  }
  const described = { config, batch, schedule, optimizer, settings, latentMultiplier: multiplier, seed }
  const plan = trainPlans.make({
    ...planned,
    vtp: vtpVersion(),
    processor: processorKind(),
    recipe: recipe?.value ?? plainRecipe(described),
  })
  const source =
    given.replay ??
    (await latentSource(given.rows!, {
      ...{ batch, seed, time, labelDropout, stats, multiplier },
      numClasses: config.numClasses,
    }))
  assertSteps(source, start?.step ?? 0, steps, request.replay)
  const saveEvery = request.saveEvery ?? recipe?.saveEvery ?? DEFAULT_SAVE_EVERY
  const { stepsPerRun } = request
  const settled = { plan, config, source, settings, schedule, steps, saveEvery, stepsPerRun }
  return { ...settled, start, stats, recipe, rows: given.rows }
}

/** What of them decides bits, where it is not float32 with one step after the other. */
function plannedPrecision(
  { inEngine, half }: TrainSettings,
  { precision }: TrainRequest,
): Pick<TrainPlanSettings, 'precision' | 'lossScale' | 'inEngine'> {
  if (!inEngine) return {}
  return {
    ...(half && precision !== 'fp32' && { precision }),
    ...(inEngine.lossScale !== undefined && { lossScale: inEngine.lossScale }),
    inEngine: true,
  }
}

async function openRecipe({ ditConfig, onNote }: TrainRequest): Promise<TrainRecipe | undefined> {
  if (ditConfig === undefined) return undefined
  const recipe = await readTrainRecipe(ditConfig)
  if (recipe.ignored.length > 0) onNote?.(`${recipe.file}: not used in training: ${recipe.ignored.join(', ')}`)
  return recipe
}

async function openInit(request: TrainRequest, recipe: TrainRecipe | undefined): Promise<StartState | undefined> {
  const file = request.init ?? recipe?.weightInit
  if (file === undefined) return undefined
  const from = request.init === undefined ? `train.weight_init of ${recipe!.file} is ` : ''
  await assertTensorFile(file, 'init_missing', `${from}${file}${from ? ', which' : ''}`)
  // train.py takes the weights alone from it.
  return openStart(file, request.init === undefined)
}

async function namedStart(start: StartState, cacheDir: string): Promise<NonNullable<TrainPlanSettings['init']>> {
  return { name: path.basename(start.path), digest: await fileDigest(start.path, cacheDir), step: start.step }
}

function assertSteps(source: BatchSource, done: number, steps: number, replay: string | undefined): void {
  if (steps < done)
    throw usageError('bad_steps', `--steps ${steps}: the start has done ${done} steps already`, [
      '--steps is the number of the last step, counted from the very beginning',
    ])
  for (let step = done + 1; step <= steps; step++) {
    if (source.has(step)) continue
    throw usageError('bad_replay', `${replay} has no step${step - 1}, which step ${step} of ${steps} needs`, [
      'batches count from 0 over the whole training: a start of step 2 goes on with step2',
    ])
  }
}
