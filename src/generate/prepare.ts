/**
 * From what the user asked for to a plan and everything that it names, opened and checked against each
 * other: transformer, tokenizer, statistics, noise, classes.
 */
import { stat } from 'node:fs/promises'
import { usageError } from '../errors.js'
import { openStore } from '../io/open-store.js'
import { type Store, uriScheme } from '../io/store.js'
import { type DitCheckpoint, ditName, openDit } from '../model/dit.js'
import { decoderOf, type ImageModel, openModel } from '../model/index.js'
import { assertOwnFolders } from '../pipeline/ledger/open-run.js'
import { makeDest, removeRun } from '../pipeline/ledger/prepare-plan.js'
import { engineVersion, vtpVersion } from '../version.js'
import type { Guidance } from './evaluate.js'
import { assignLabels, checkClasses, DEMO_CLASSES, LABEL_MODES, type LabelMode, labelsDigest } from './labels.js'
import { type LatentStats, noStats, readLatentStats } from './latent-stats.js'
import { type NoiseSource, openNoiseFile, readLabelFile, seededNoise } from './noise-source.js'
import { type GeneratePlan, type GenerateSettings, makePlan } from './plan.js'
import { type Recipe, readRecipe, recipeConfig } from './recipe.js'
import { SAMPLERS, type SamplerName } from './sample-request.js'
import { timeGrid } from './schedule.js'
import { settlePlan } from './settle-plan.js'

/** Values that are undefined come from the reference's configuration file, else from the defaults. */
export interface GenerateOptions {
  /** A checkpoint file or a folder with one. */
  dit?: string
  /** A configuration file of the reference's. */
  ditConfig?: string
  heads?: number
  /** The model whose pixel decoder is used. */
  model?: string
  /** A file or folder of latent statistics, or `none`. */
  stats?: string
  latentMultiplier?: number
  sampler?: string
  steps?: number
  timestepShift?: number
  cfgScale?: number
  cfgIntervalStart?: number
  /** Channels that guidance changes; `all` for all of them. */
  cfgChannels?: number | 'all'
  atol?: number
  rtol?: number
  controlGroup?: number
  num?: number
  /** All classes, too, where undefined; but only then may a preview choose its own. */
  classes?: number[] | 'all'
  /** `balanced`, `random`, or a file with one class per sample. */
  labels?: string
  seed?: number
  /** A tensor of noise, `FILE` or `FILE#NAME`. */
  noise?: string
  latents?: { format: 'arrow' | 'parquet' | 'safetensors'; dtype: 'float16' | 'float32' }
  grid?: { rows: number; columns: number }
  shardRows?: number
  dest: string
  overwrite: boolean
  precision: string
  device: string
  /** Of this machine (engine/processor.ts). */
  processor: string
  cacheDir: string
  onNote?: (line: string) => void
}

export interface PreparedGenerate {
  plan: GeneratePlan
  resumed: boolean
  /** Of this machine. */
  processor: string
  store: Store
  dit: DitCheckpoint
  model: ImageModel
  stats: LatentStats
  noise: NoiseSource
  labels: Int32Array
  grid: Float32Array
  guidance: Guidance | undefined
  close(): Promise<void>
}

const DEFAULT_GROUP = 4
const DEFAULT_UNIT = { cpu: 16, gpu: 256 }

/** Opens and checks everything, and stores (or finds) the plan unless `dryRun`. Throws usage errors. */
export async function prepareGenerate(options: GenerateOptions, dryRun = false): Promise<PreparedGenerate> {
  const recipe = options.ditConfig ? await readRecipe(options.ditConfig) : undefined
  const closers: { close(): Promise<void> }[] = []
  const close = async (): Promise<void> => void (await Promise.allSettled(closers.map((c) => c.close())))
  try {
    const sampler = planSampler(options, recipe)
    const { model, dit } = await openModels(options, recipe, closers)
    const { config } = dit
    const size = config.inputSize
    const stats = await findStats(options, recipe, config.inChannels)
    const seed = options.seed ?? recipe?.seed ?? 0
    const shape = [config.inChannels, size, size] as const
    const noise = options.noise
      ? await openNoiseFile(options.noise, shape, options.cacheDir)
      : seededNoise(seed, config.inChannels * size * size)
    closers.push(noise)
    const chosen = await chooseLabels(options, recipe, noise.rows, config.numClasses, seed)
    const guidance = planGuidance(options, recipe, dit)
    const image = decoderOf(model).imageSize({ height: size, width: size })
    const group = sampler.adaptive?.group ?? 1
    const wanted = options.shardRows ?? DEFAULT_UNIT[options.device === 'cpu' ? 'cpu' : 'gpu']
    const settings: GenerateSettings = {
      version: 1,
      kind: 'generate',
      num: chosen.labels.length,
      labels: { mode: chosen.mode, sha256: labelsDigest(chosen.labels) },
      noise: noise.id,
      dit: { name: `${dit.name} (${ditName(config)})`, digest: dit.digest },
      model: { name: model.name, digest: model.digest },
      stats: { name: stats.name, digest: stats.digest },
      latentMultiplier: options.latentMultiplier ?? recipe?.latentMultiplier ?? 1,
      normalize: recipe?.normalize ?? 'imagenet',
      sampler,
      guidance,
      image,
      latents: options.latents ?? null,
      precision: options.precision,
      device: options.device,
      shardRows: Math.ceil(wanted / group) * group,
      engine: engineVersion(),
    }
    const encoded = decoderOf(model).latentShape(image)[1]
    if (encoded !== size)
      options.onNote?.(
        `The decoder makes images of ${image.height}² of these latents; the encoder makes ${encoded}² of such images.`,
      )
    if (!(settings.latentMultiplier > 0)) {
      throw usageError('bad_multiplier', `--latent-multiplier ${settings.latentMultiplier} is not above 0`)
    }
    const fresh = makePlan(settings, vtpVersion(), options.processor)
    const store = await openDest(options, dryRun)
    closers.push(store)
    const { plan, resumed } = dryRun
      ? { plan: fresh, resumed: false }
      : await settlePlan(store, fresh, { dest: options.dest, labels: chosen.labels })
    return {
      plan,
      resumed,
      processor: options.processor,
      store,
      dit,
      model,
      stats,
      noise,
      labels: chosen.labels,
      grid: timeGrid(sampler.steps, sampler.timestepShift),
      guidance: guidance ? { ...guidance, nullLabel: config.numClasses } : undefined,
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

async function openDest(options: GenerateOptions, dryRun: boolean): Promise<Store> {
  if (!dryRun && uriScheme(options.dest) === undefined) await makeDest(options.dest)
  const store = await openStore(options.dest)
  await assertOwnFolders(store)
  if (options.overwrite && !dryRun) await removeRun(store)
  return store
}

async function openModels(
  options: GenerateOptions,
  recipe: Recipe | undefined,
  closers: { close(): Promise<void> }[],
): Promise<{ model: ImageModel; dit: DitCheckpoint }> {
  const ref = options.dit ?? recipe?.checkpoint
  if (ref === undefined) {
    throw usageError('dit_missing', 'No diffusion transformer is given', [
      'give --dit the .pt or .safetensors file of a LightningDiT',
      ...(recipe ? [`or fill in ckpt_path in ${recipe.file}`] : []),
    ])
  }
  const model = await openModel(options.model ?? recipeModel(recipe), {
    cacheDir: options.cacheDir,
    onNote: options.onNote,
  })
  closers.push(model)
  const side = recipe?.imageSize ?? model.imageSize.height
  const [channels, rows] = decoderOf(model).latentShape({ height: side, width: side })
  const config = recipe && recipeConfig(recipe, rows, channels)
  const dit = await openDit(ref, { cacheDir: options.cacheDir, config, heads: options.heads })
  closers.push(dit)
  if (dit.config.inChannels !== channels) {
    throw usageError(
      'latent_channels',
      `The transformer ${dit.name} makes latents of ${dit.config.inChannels} channels; the model ${model.name} decodes ${channels}`,
      ['give --model the model whose latents the transformer was trained on'],
    )
  }
  return { model, dit }
}

/** The model whose decoder a configuration wants. Throws a usage error where it only has a name for it. */
function recipeModel(recipe: Recipe | undefined): string {
  const { vtpModel, tokenizer, file } = recipe ?? {}
  if (vtpModel !== undefined) return vtpModel
  if (tokenizer === undefined || tokenizer === 'vtp') return 'nano'
  throw usageError('model_missing', `${file}: the tokenizer is ${tokenizer}, but not where it is`, [
    `give --model the checkpoint of ${tokenizer}${/^vavae_f16d32/.test(tokenizer) ? ', e.g. hustvl/vavae-imagenet256-f16d32-dinov2' : ''}`,
  ])
}

async function findStats(options: GenerateOptions, recipe: Recipe | undefined, channels: number): Promise<LatentStats> {
  if (options.stats === 'none') return noStats(channels)
  if (options.stats !== undefined) return readLatentStats(options.stats, channels)
  const there = recipe?.dataPath && (await stat(recipe.dataPath).catch(() => undefined))
  if (recipe?.dataPath && there) return readLatentStats(recipe.dataPath, channels)
  throw usageError('stats_missing', 'The statistics of the latents are needed to turn samples back into latents', [
    ...(recipe?.dataPath ? [`data.data_path of ${recipe.file} is ${recipe.dataPath}, which does not exist here`] : []),
    'give --stats latents_stats.pt, or the folder of latents that holds it',
    'pass --stats none for a model that was trained on latents as they are',
  ])
}

function planSampler(options: GenerateOptions, recipe: Recipe | undefined): GenerateSettings['sampler'] {
  const given = (options.sampler ?? recipe?.method ?? 'euler').toLowerCase()
  const method = given === 'heun2' ? 'heun' : given
  if (!SAMPLERS.includes(method as SamplerName)) {
    throw usageError('unknown_sampler', `The sampler ${given} is not known`, [`choose among ${SAMPLERS.join(', ')}`])
  }
  const steps = options.steps ?? recipe?.steps ?? 250
  const timestepShift = options.timestepShift ?? recipe?.timestepShift ?? 0
  if (!(timestepShift >= 0 && Number.isFinite(timestepShift))) {
    throw usageError('bad_timestep_shift', `--timestep-shift ${timestepShift} is not 0 or more`)
  }
  timeGrid(steps, timestepShift) // throws for too few steps
  const adaptive = {
    atol: options.atol ?? recipe?.atol ?? 1e-6,
    rtol: options.rtol ?? recipe?.rtol ?? 1e-3,
    group: options.controlGroup ?? recipe?.batch ?? DEFAULT_GROUP,
  }
  if (!(adaptive.atol >= 0 && adaptive.rtol >= 0 && adaptive.atol + adaptive.rtol > 0)) {
    throw usageError('bad_tolerance', `--atol ${adaptive.atol} and --rtol ${adaptive.rtol} are not tolerances`)
  }
  return { method: method as SamplerName, steps, timestepShift, adaptive: method === 'dopri5' ? adaptive : null }
}

/** Null without guidance: a scale of at most 1, as the reference decides. */
function planGuidance(
  options: GenerateOptions,
  recipe: Recipe | undefined,
  dit: DitCheckpoint,
): GenerateSettings['guidance'] {
  const scale = options.cfgScale ?? recipe?.cfgScale ?? 1
  if (!Number.isFinite(scale)) throw usageError('bad_cfg_scale', `--cfg-scale ${scale} is not a number`)
  if (!(scale > 1)) return null
  if (!dit.config.nullClass) {
    throw usageError('no_null_class', `${dit.name} was trained without a null class: it cannot be guided`, [
      'use --cfg-scale 1',
    ])
  }
  const all = dit.config.inChannels
  const channels = options.cfgChannels === 'all' ? all : Math.min(options.cfgChannels ?? 3, all)
  return { scale, intervalStart: options.cfgIntervalStart ?? recipe?.cfgIntervalStart ?? 0, channels }
}

async function chooseLabels(
  options: GenerateOptions,
  recipe: Recipe | undefined,
  noiseRows: number | undefined,
  numClasses: number,
  seed: number,
): Promise<{ labels: Int32Array; mode: string }> {
  const { grid } = options
  const chosen = options.classes === 'all' ? undefined : options.classes
  const mode = options.labels
  const isMode = mode === undefined || (LABEL_MODES as readonly string[]).includes(mode)
  const list = isMode ? undefined : await readLabelFile(mode)
  const num =
    options.num ??
    (grid ? grid.rows * grid.columns : undefined) ??
    noiseRows ??
    list?.length ??
    recipe?.num ??
    chosen?.length
  if (num === undefined) {
    throw usageError('num_missing', 'How many images are to be generated is not said', ['give --num, e.g. --num 50000'])
  }
  if (!Number.isSafeInteger(num) || num < 1) throw usageError('bad_num', `--num ${num} is not a positive whole number`)
  const few = (what: string, there: number): never => {
    throw usageError('too_few_rows', `${what} has ${there} rows; ${num} samples are asked for`, [`use --num ${there}`])
  }
  if (noiseRows !== undefined && noiseRows < num) few('The noise', noiseRows)
  if (list) {
    if (list.length < num) few(`The list of classes ${mode}`, list.length)
    const labels = Int32Array.from(list.slice(0, num))
    checkClasses([...labels], numClasses, `--labels ${mode}`)
    return { labels, mode: 'given' }
  }
  if (chosen) checkClasses(chosen, numClasses, `--classes ${chosen.slice(0, 8).join(',')}`)
  // A preview without further wishes shows the classes of the reference's demonstration.
  const nothingSaid =
    options.num === undefined && options.noise === undefined && options.classes === undefined && mode === undefined
  const classes = chosen ?? (grid && nothingSaid && numClasses === 1000 ? DEMO_CLASSES : undefined)
  const used = (mode ?? (classes ? 'balanced' : 'random')) as LabelMode
  const of = classes
    ? classes.length > 8
      ? `${classes.length} classes`
      : `classes ${classes.join(',')}`
    : 'all classes'
  return { labels: assignLabels({ num, numClasses, classes, mode: used, seed }), mode: `${used}, ${of}` }
}
