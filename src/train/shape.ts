/**
 * The shape of the model that is trained: from a name or numbers (`--size`), from the configuration's `model_type`,
 * or from the tensors of a start. A start decides for itself where the configuration names no size of the reference's.
 */
import { usageError } from '../errors.js'
import { headsBeside } from '../model/lightningdit/checkpoint.js'
import { checkDitConfig, DIT_SIZES, type DitConfig } from '../model/lightningdit/config.js'
import { checkDitTensors, inferDitConfig } from '../model/lightningdit/tensors.js'
import type { StartState } from './checkpoint.js'
import type { DitOptions, TrainRecipe } from './recipe.js'

type Size = Pick<DitConfig, 'hiddenSize' | 'depth' | 'numHeads' | 'patchSize'>

/** VTP's configurations, where no file says otherwise. */
const DEFAULT_OPTIONS: DitOptions = { qkNorm: false, swiglu: true, rope: true, rmsNorm: true, woShift: false }

/** "LightningDiT-B/1", "B/1", or WIDTHxDEPTHxHEADS with an optional "/PATCH". Throws usage error `unknown_size`. */
export function parseSize(text: string): Size {
  const known = DIT_SIZES[text] ?? DIT_SIZES[`LightningDiT-${text}`]
  if (known) return known
  const match = /^(\d+)x(\d+)x(\d+)(?:\/(\d+))?$/.exec(text)
  if (!match) {
    throw usageError('unknown_size', `--size ${text} is not a size`, [
      `choose among ${Object.keys(DIT_SIZES).join(', ')}`,
      'or write WIDTHxDEPTHxHEADS/PATCH, e.g. 256x8x4/1',
    ])
  }
  const [, hiddenSize, depth, numHeads, patchSize = '1'] = match
  return {
    hiddenSize: Number(hiddenSize),
    depth: Number(depth),
    numHeads: Number(numHeads),
    patchSize: Number(patchSize),
  }
}

export interface ShapeRequest {
  size?: string
  heads?: number
  numClasses?: number
  recipe?: TrainRecipe
  start?: StartState
  /** [C, H, W] of the batches. */
  latent: readonly [number, number, number]
  /** Of the data, where they tell. */
  largestLabel: number
  onNote: (line: string) => void
}

/** Throws usage errors `size_missing`, `shape_contradicts`, `dit_mismatch`, `latent_shape`. */
export async function chooseConfig(request: ShapeRequest): Promise<DitConfig> {
  const { recipe, start, size, latent } = request
  const type = recipe?.modelType
  const known =
    size !== undefined
      ? parseSize(size)
      : type !== undefined && Object.hasOwn(DIT_SIZES, type)
        ? DIT_SIZES[type]
        : undefined
  if (!known && !start) {
    const seen = type === undefined ? '' : ` (model.model_type "${type}" is not a size of the reference's)`
    throw usageError('size_missing', `Which model is to be trained is not said${seen}`, [
      'give --size, e.g. LightningDiT-B/1 or 256x8x4/1',
      'or --init with a checkpoint, whose tensors show it',
    ])
  }
  const config = known ? knownConfig(known, request) : await startConfig(start!, request)
  if (start && known) checkDitTensors(config, start.shapes, start.path)
  assertObeyed(config, request)
  checkLatents(config, request)
  if (latent[0] !== config.inChannels || latent[1] !== config.inputSize) {
    const told = recipe && known ? ` (${recipe.file})` : ''
    throw usageError(
      'latent_shape',
      `The latents are [${latent}]; the model takes [${config.inChannels},${config.inputSize},${config.inputSize}]${told}`,
      ['train on latents of that shape, or choose another model'],
    )
  }
  return config
}

/** A flag must not say otherwise than what decides the shape. */
function assertObeyed({ numHeads, numClasses }: DitConfig, request: ShapeRequest): void {
  const { size, recipe, start, heads } = request
  if (heads !== undefined && heads !== numHeads)
    throw usageError(
      'shape_contradicts',
      `--heads ${heads}: ${size === undefined ? `model.model_type of ${recipe?.file}` : `--size ${size}`} has ${numHeads}`,
      ['leave --heads out', 'or write the size with other heads: --size WIDTHxDEPTHxHEADS/PATCH'],
    )
  if (request.numClasses !== undefined && request.numClasses !== numClasses)
    throw usageError(
      'shape_contradicts',
      `--num-classes ${request.numClasses}: the model of ${start?.path} has ${numClasses}`,
      ['leave --num-classes out: the weights decide', 'or train a new model, without --init'],
    )
}

function checkLatents(config: DitConfig, { largestLabel }: ShapeRequest): void {
  checkDitConfig(config)
  if (largestLabel <= config.numClasses) return
  throw usageError(
    'class_out_of_range',
    `The data have class ${largestLabel}; the model knows 0 to ${config.numClasses - 1}`,
    ['set data.num_classes of the configuration (or --num-classes) to the number of classes'],
  )
}

function knownConfig(size: Size, { recipe, start, latent, numClasses, largestLabel }: ShapeRequest): DitConfig {
  const told = recipe?.imageSize === undefined ? undefined : recipe.imageSize / recipe.downsample
  if (told !== undefined && !Number.isInteger(told))
    throw usageError(
      'bad_recipe',
      `${recipe!.file}: data.image_size ${recipe!.imageSize} is not a multiple of ${recipe!.downsample} (vae.downsample_ratio)`,
    )
  const rows = start?.shapes.get('y_embedder.embedding_table.weight')?.[0]
  return {
    ...size,
    ...(recipe?.options ?? DEFAULT_OPTIONS),
    inputSize: told ?? latent[1],
    inChannels: recipe?.inChannels ?? latent[0],
    mlpRatio: 4,
    numClasses: numClasses ?? recipe?.numClasses ?? (rows === undefined ? largestLabel + 1 : rows - 1),
    nullClass: true,
    learnSigma: false,
  }
}

/** The start's own shape; the configuration tells of RoPE where the file has no tables of it. */
async function startConfig(start: StartState, { recipe, heads, onNote }: ShapeRequest): Promise<DitConfig> {
  const inferred = inferDitConfig(start.shapes, start.path, heads ?? (await headsBeside(start.path)))
  const config = { ...inferred, rope: inferred.rope || (recipe?.options.rope ?? false) }
  checkDitTensors(config, start.shapes, start.path)
  if (!recipe) return config
  const names = { qkNorm: 'use_qknorm', swiglu: 'use_swiglu', rmsNorm: 'use_rmsnorm', woShift: 'wo_shift' } as const
  for (const [key, name] of Object.entries(names) as [keyof typeof names, string][]) {
    if (recipe.value.model === undefined || config[key] === recipe.options[key]) continue
    onNote(
      `model.${name} is ${recipe.options[key]} in ${recipe.file}; the tensors of ${start.path} say ${config[key]}, and they decide.`,
    )
  }
  return config
}
