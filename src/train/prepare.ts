/**
 * From what the user asked for to a plan and everything that it names, opened and checked against each other: data,
 * statistics, start, shape, settings.
 */
import { rm, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { processorKind } from '../engine/processor.js'
import { usageError, VtpError } from '../errors.js'
import { type LatentStats, latentStats, readLatentStats } from '../generate/latent-stats.js'
import { fileDigest } from '../io/file-digest.js'
import { openStore } from '../io/open-store.js'
import { uriScheme } from '../io/store.js'
import { makeTempFolder } from '../io/temp-folder.js'
import { DIT_SIZES, type DitConfig, ditTokens } from '../model/lightningdit/config.js'
import { LATENTS_STATS } from '../pipeline/ledger/layout.js'
import { latentsStats } from '../pipeline/ledger/stats.js'
import { engineVersion, vtpVersion } from '../version.js'
import { OPTIMIZER_DEFAULTS, type OptimizerSettings } from './adamw.js'
import { openStart, type StartState } from './checkpoint.js'
import { timeInterval } from './draws.js'
import { assertLabelled, latentSource } from './latents.js'
import { makeTrainPlan, type TrainPlan } from './plan.js'
import { readTrainRecipe, type TrainRecipe } from './recipe.js'
import { openReplay } from './replay.js'
import type { TrainRequest } from './request.js'
import { type LatentRows, openLatentRows } from './rows.js'
import { rateAt, type Schedule } from './schedule.js'
import { chooseConfig } from './shape.js'
import type { BatchSource } from './source.js'
import type { TrainSettings } from './step.js'

export interface PreparedTrain {
  plan: TrainPlan
  config: DitConfig
  source: BatchSource
  settings: TrainSettings
  schedule: Schedule
  /** Number of the last step. */
  steps: number
  saveEvery: number
  /** Undefined: fresh weights. */
  start: StartState | undefined
  stats: LatentStats | undefined
  recipe: TrainRecipe | undefined
  rows: LatentRows | undefined
  close(): Promise<void>
}

/** Tokens that are computed at once, where nobody says how many samples. */
const MICRO_TOKENS = 4096
const DEFAULT_BATCH = 256
const DEFAULT_SAVE_EVERY = 1000

/** Opens and checks everything. Copies of latents go to `rowsFolder`. Throws usage errors. */
export async function prepareTrain(request: TrainRequest, rowsFolder: string): Promise<PreparedTrain> {
  const note = request.onNote ?? (() => {})
  const closers: { close(): Promise<void> }[] = []
  const close = async (): Promise<void> => void (await Promise.allSettled(closers.map((each) => each.close())))
  try {
    const recipe = request.ditConfig === undefined ? undefined : await readTrainRecipe(request.ditConfig)
    if (recipe && recipe.ignored.length > 0) note(`${recipe.file}: not used in training: ${recipe.ignored.join(', ')}`)
    const start = await openInit(request, recipe)
    if (start) closers.push(start)
    const given = await openData(request, recipe, rowsFolder)
    closers.push(given.opened)
    const data = given.opened
    const config = await chooseConfig({
      ...{ size: request.size, heads: request.heads, numClasses: request.numClasses, recipe, start, onNote: note },
      latent: data.shape,
      largestLabel: given.rows ? given.rows.labels.reduce((a, b) => Math.max(a, b), -1) : given.replay!.largestLabel,
    })
    const stats = given.rows && (await findStats(request, recipe, given.rows))
    const latentMultiplier = request.latentMultiplier ?? recipe?.latentMultiplier ?? 1
    if (!(latentMultiplier > 0))
      throw usageError('bad_multiplier', `--latent-multiplier ${latentMultiplier} is not above 0`)
    const batch = given.replay?.batch ?? request.batchSize ?? recipe?.batch ?? DEFAULT_BATCH
    if (given.replay && request.batchSize !== undefined && request.batchSize !== batch)
      throw usageError(
        'bad_batch_size',
        `--batch-size ${request.batchSize}: the batches of ${request.replay} have ${batch} samples`,
      )
    const microBatch = chooseMicroBatch(request, config, batch)
    const optimizer = optimizerOf(request, recipe)
    const steps = request.steps ?? recipe?.maxSteps
    if (steps === undefined)
      throw usageError('steps_missing', 'How many steps are to be trained is not said', [
        'give --steps, e.g. --steps 100000',
      ])
    const schedule = scheduleOf(request, recipe, steps)
    const transport = recipe?.transport ?? { path: 'Linear', prediction: 'velocity', lossWeight: 'none' }
    const settings: TrainSettings = {
      config,
      microBatch,
      microBatches: batch / microBatch,
      cosineLoss: (request.cosineLoss ?? recipe?.cosineLoss ?? true) && transport.prediction === 'velocity',
      checkpointActivations: request.checkpointActivations ?? false,
      transport,
      optimizer,
    }
    const time = {
      lognorm: recipe ? recipe.lognorm : { mu: 0, sigma: 1 },
      interval: timeInterval(transport, recipe?.trainEps),
    }
    const seed = request.seed ?? recipe?.seed ?? 0
    const labelDropout = request.labelDropout ?? 0.1
    const plan = makeTrainPlan(
      {
        version: 1,
        kind: 'train',
        seed,
        data: given.named,
        stats: stats ? { name: path.basename(stats.name), digest: stats.digest } : null,
        latentMultiplier,
        init: start
          ? {
              name: path.basename(start.path),
              digest: await fileDigest(start.path, request.cacheDir),
              step: start.step,
            }
          : null,
        model: config,
        batch,
        microBatch,
        checkpointActivations: settings.checkpointActivations,
        transport,
        time: time.lognorm ? { lognorm: time.lognorm, interval: time.interval } : { interval: time.interval },
        labelDropout,
        cosineLoss: settings.cosineLoss,
        optimizer,
        schedule,
        device: request.engine.kind,
        engine: engineVersion(),
      },
      {
        vtp: vtpVersion(),
        processor: processorKind(),
        recipe: recipe?.value ?? plainRecipe({ config, batch, schedule, optimizer, settings, latentMultiplier, seed }),
      },
    )
    const source =
      given.replay ??
      (await latentSource(given.rows!, {
        ...{ batch, seed, time, labelDropout, stats },
        numClasses: config.numClasses,
        multiplier: latentMultiplier,
      }))
    assertSteps(source, start?.step ?? 0, steps, request.replay)
    const saveEvery = request.saveEvery ?? recipe?.saveEvery ?? DEFAULT_SAVE_EVERY
    return { plan, config, source, settings, schedule, steps, saveEvery, start, stats, recipe, rows: given.rows, close }
  } catch (error) {
    await close()
    throw error
  }
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

async function openInit(request: TrainRequest, recipe: TrainRecipe | undefined): Promise<StartState | undefined> {
  const file = request.init ?? recipe?.weightInit
  if (file === undefined) return undefined
  if (!(await stat(file).catch(() => undefined))?.isFile()) {
    const from = request.init === undefined ? `train.weight_init of ${recipe!.file} is ` : ''
    throw usageError('init_missing', `${from}${file}${from ? ', which' : ''} is not a file`, [
      'give --init a .pt file of train.py or of `vtp train`, or a .safetensors file',
    ])
  }
  // train.py takes the weights alone from it.
  return openStart(file, request.init === undefined)
}

interface GivenData {
  opened: { shape: readonly [number, number, number]; close(): Promise<void> }
  rows?: LatentRows
  replay?: BatchSource
  named: TrainPlan['data']
}

async function openData(request: TrainRequest, recipe: TrainRecipe | undefined, folder: string): Promise<GivenData> {
  if (request.replay !== undefined) {
    if (request.latents !== undefined)
      throw usageError('bad_replay', '--replay takes the place of LATENTS: give one of them')
    const replay = await openReplay(request.replay)
    const digest = await fileDigest(request.replay, request.cacheDir)
    return {
      opened: replay,
      replay,
      named: { kind: 'replay', name: path.basename(request.replay), digest, rows: null },
    }
  }
  const input = request.latents ?? recipe?.dataPath
  if (input === undefined)
    throw usageError('latents_missing', 'There are no latents to train on', [
      'give the --out folder of `vtp encode --flip`',
      ...(recipe ? [`or fill in data.data_path in ${recipe.file}`] : []),
    ])
  const rows = await openLatentRows(input, { folder, onNote: request.onNote, stop: request.stop })
  await assertLabelled(rows)
  if (!rows.hasFlips)
    request.onNote?.('The latents have no mirrored ones beside them (encode with --flip): every row is taken as it is.')
  const name = path.basename(input.replace(/\/+$/, ''))
  return { opened: rows, rows, named: { kind: 'latents', name, digest: rows.digest, rows: rows.rows } }
}

/** Undefined: latents are taken as they are. Throws usage errors `stats_missing` and those of the file's reader. */
async function findStats(
  request: TrainRequest,
  recipe: TrainRecipe | undefined,
  { input, shape: [channels] }: LatentRows,
): Promise<LatentStats | undefined> {
  if (request.stats === 'none') return undefined
  if (request.stats !== undefined) return readLatentStats(request.stats, channels)
  if (recipe && !recipe.latentNorm) return undefined
  const remote = uriScheme(input) !== undefined
  const isFile = /\.(arrow|parquet|safetensors)$/.test(input)
  const folder = isFile ? path.dirname(input) : input
  if (!remote && (await stat(path.join(folder, LATENTS_STATS)).catch(() => undefined)))
    return readLatentStats(folder, channels)
  if (remote && !isFile) {
    const found = await remoteStats(input, channels)
    if (found) return found
  }
  // What the commits of a run say costs no pass over the latents.
  const known = isFile ? undefined : await latentsStats(input).catch(() => undefined)
  if (known?.fromCommits)
    return latentStats('the commits of the run', Float32Array.from(known.mean), Float32Array.from(known.std))
  throw usageError('stats_missing', `There are no statistics of the latents in ${folder}`, [
    `compute them: vtp stats ${folder}`,
    'give --stats FILE, or --stats none to train on latents as they are',
  ])
}

async function remoteStats(input: string, channels: number): Promise<LatentStats | undefined> {
  const store = await openStore(input)
  const folder = await makeTempFolder('stats')
  try {
    const bytes = await store.get(LATENTS_STATS).catch((error: unknown) => {
      if (error instanceof VtpError && error.code === 'not_found') return undefined
      throw error
    })
    if (!bytes) return undefined
    await writeFile(path.join(folder, LATENTS_STATS), bytes)
    return await readLatentStats(folder, channels)
  } finally {
    await rm(folder, { recursive: true, force: true })
    await store.close()
  }
}

function chooseMicroBatch({ microBatch }: TrainRequest, config: DitConfig, batch: number): number {
  if (microBatch !== undefined) {
    if (batch % microBatch === 0) return microBatch
    throw usageError('bad_micro_batch', `--micro-batch ${microBatch} does not divide the batch of ${batch}`, [
      `choose a divisor of ${batch}`,
    ])
  }
  const tokens = ditTokens(config)
  let size = batch
  while (size > 1 && (batch % size !== 0 || size * tokens > MICRO_TOKENS)) size--
  return size
}

function optimizerOf(request: TrainRequest, recipe: TrainRecipe | undefined): OptimizerSettings {
  const within = (flag: string, value: number, low: number, high: number): void => {
    if (value >= low && value < high) return
    throw usageError('bad_number', `${flag} ${value} is not from ${low} to below ${high}`)
  }
  const beta2 = request.beta2 ?? recipe?.beta2 ?? OPTIMIZER_DEFAULTS.beta2
  const emaDecay = request.emaDecay ?? OPTIMIZER_DEFAULTS.emaDecay
  within('--beta2', beta2, 0, 1)
  within('--ema-decay', emaDecay, 0, 1)
  within('--weight-decay', request.weightDecay ?? 0, 0, 1e6)
  within('--max-grad-norm', request.maxGradNorm ?? 0, 0, Number.POSITIVE_INFINITY)
  const asked = request.maxGradNorm ?? recipe?.maxGradNorm
  const maxGradNorm = asked === 0 ? undefined : asked
  return {
    ...OPTIMIZER_DEFAULTS,
    beta2,
    emaDecay,
    weightDecay: request.weightDecay ?? OPTIMIZER_DEFAULTS.weightDecay,
    ...(maxGradNorm !== undefined && { maxGradNorm }),
  }
}

function scheduleOf(request: TrainRequest, recipe: TrainRecipe | undefined, steps: number): Schedule {
  const lr = request.lr ?? recipe?.lr ?? 2e-4
  if (!(lr > 0 && Number.isFinite(lr))) throw usageError('bad_number', `--lr ${lr} is not above 0`)
  const kind = request.schedule ?? 'constant'
  const schedule: Schedule = { kind, lr, warmup: request.warmup ?? 0, ...(kind === 'cosine' && { steps }) }
  rateAt(schedule, 1)
  return schedule
}

interface Described {
  config: DitConfig
  batch: number
  schedule: Schedule
  optimizer: OptimizerSettings
  settings: TrainSettings
  latentMultiplier: number
  seed: number
}

/** A configuration in the reference's terms, where there is no file of it. */
function plainRecipe({
  config,
  batch,
  schedule,
  optimizer,
  settings,
  latentMultiplier,
  seed,
}: Described): Record<string, unknown> {
  const { transport } = settings
  return {
    data: {
      // Where the latents lie decides no byte.
      data_path: 'latents',
      image_size: config.inputSize * 16,
      num_classes: config.numClasses,
      num_workers: 8,
      latent_norm: true,
      latent_multiplier: latentMultiplier,
    },
    vae: { model_name: 'vtp', downsample_ratio: 16 },
    model: {
      model_type: modelType(config),
      use_qknorm: config.qkNorm,
      use_swiglu: config.swiglu,
      use_rope: config.rope,
      use_rmsnorm: config.rmsNorm,
      wo_shift: config.woShift,
      in_chans: config.inChannels,
    },
    train: { global_batch_size: batch, global_seed: seed },
    optimizer: {
      lr: schedule.lr,
      beta2: optimizer.beta2,
      ...(optimizer.maxGradNorm !== undefined && { max_grad_norm: optimizer.maxGradNorm }),
    },
    transport: {
      path_type: transport.path,
      prediction: transport.prediction,
      loss_weight: transport.lossWeight === 'none' ? null : transport.lossWeight,
      sample_eps: null,
      train_eps: null,
      use_cosine_loss: settings.cosineLoss,
      use_lognorm: true,
      lognorm_mu: 0,
      lognorm_sigma: 1,
    },
  }
}

/** The reference's name of a size, or its numbers as `--size` takes them. */
export function modelType({ hiddenSize, depth, numHeads, patchSize }: DitConfig): string {
  const known = Object.entries(DIT_SIZES).find(
    ([, size]) =>
      size.hiddenSize === hiddenSize &&
      size.depth === depth &&
      size.numHeads === numHeads &&
      size.patchSize === patchSize,
  )
  return known?.[0] ?? `${hiddenSize}x${depth}x${numHeads}/${patchSize}`
}
