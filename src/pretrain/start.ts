/**
 * What a pre-training state begins from: fresh weights, or a folder that holds one. `config.json` and
 * `model.safetensors` are the published layout; `training.safetensors` beside them holds head, teacher, AdamW's moments
 * and the centres. A model without that file is a start, too, where head and teacher may be fresh.
 */
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { errorText, usageError, VtpError } from '../errors.js'
import { openTensorFile, type TensorFile } from '../io/tensor-file.js'
import { openWeights } from '../io/weights.js'
import { DECODER_UPSCALE, parseConfig, type VtpConfig } from '../model/vtp/config.js'
import { checkTensors, decoderShape, expectedTensors, visionShape } from '../model/vtp/tensors.js'
import type { TrainingModel } from '../model/vtp/training.js'
import { freshTensor, headShapes, ropePeriods } from './init.js'
import type { PretrainRecipe } from './recipe.js'
import { HEAD, hasTeacher, isBuffer, type Shapes, STUDENT, TEACHER } from './state.js'

export type Moment = 'exp_avg' | 'exp_avg_sq'

export interface PretrainStart {
  /** Of the folder; undefined for fresh weights. */
  readonly folder?: string
  readonly config: VtpConfig
  /** The text of `config.json`: it is copied as it is. */
  readonly configText: string
  /** Shapes of `dino_head.*`; empty without the self-supervised branch. */
  readonly head: Shapes
  /** Shapes of the teacher's tensors, with their prefix; empty without the self-supervised branch. */
  readonly teacher: Shapes
  /** Whether RoPE's periods are stored as bfloat16. */
  isBfloat16(buffer: string): boolean
  periods: TrainingModel['periods']
  /** By the student's names, and `teacher_…`. */
  read(name: string): Promise<Float32Array>
  /** AdamW's moment of a student's tensor; undefined where there is none yet. */
  moment(kind: Moment, name: string): Promise<Float32Array | undefined>
  /** The moving centre `dino` or `ibot`; undefined where there is none yet. */
  centre(name: string): Promise<Float32Array | undefined>
  close(): Promise<void>
}

/** Where the state begins: fresh weights, or a folder; `resumed`: with its moments and centres, after `done` steps. */
export type StartPlace = { seed: number } | { folder: string; seed: number; resumed?: { done: number } }

export async function openStart(recipe: PretrainRecipe, place: StartPlace): Promise<PretrainStart> {
  if (!('folder' in place)) return freshStart(recipe, place.seed)
  const { folder, seed, resumed } = place
  return openStartFolder(folder, recipe, resumed ? { whole: true } : { fill: seed })
}

/** The model of the recipe with fresh weights, all functions of the seed. */
function freshStart(recipe: PretrainRecipe, seed: number): PretrainStart {
  if (!recipe.model)
    throw usageError('bad_recipe', 'The recipe describes no model, and there is no --init', [
      "write the model's config.json under `model:`, or give --init DIR",
    ])
  const configText = `${JSON.stringify({ model_type: 'vtp', ...recipe.model }, null, 2)}\n`
  const config = parseConfig(configText, 'the recipe’s model')
  assertParts(config, recipe, 'the recipe’s model')
  const { rope, siglip } = recipe.config
  const head = recipe.hyper_parameters.w_ssl > 0 ? headShapes(headWidth(config), recipe.config.head) : new Map()
  const all = new Map([...expectedTensors(config), ...head])
  const names = [...all.keys()]
  const periods = (prefix: 'trunk' | 'pixel_decoder'): Float32Array => {
    const { dim, heads } = prefix === 'trunk' ? visionShape(config) : decoderShape(config)
    return ropePeriods(dim / heads, rope)
  }
  return {
    config,
    configText,
    head,
    teacher: head.size > 0 ? teacherShapes(config, head) : new Map(),
    isBfloat16: () => rope === 'bf16',
    periods,
    async read(name) {
      const own = name.startsWith(TEACHER) ? name.slice(TEACHER.length) : name
      if (isBuffer(own)) return periods(own.startsWith('trunk.') ? 'trunk' : 'pixel_decoder')
      return freshTensor(own, all.get(own)!, names.indexOf(own), { config, siglip, seed })
    },
    moment: async () => undefined,
    centre: async () => undefined,
    close: async () => {},
  }
}

/** Width of what the head reads. */
const headWidth = (config: VtpConfig): number =>
  config.vision_bottleneck_ae_only
    ? config.vision_embed_dim
    : (config.vision_feature_bottleneck ?? config.vision_embed_dim)

function teacherShapes(config: VtpConfig, head: Shapes): Map<string, readonly number[]> {
  const own = [...expectedTensors(config), ...head].filter(
    ([name]) => hasTeacher(name) && !isBuffer(name) && (name !== 'visual_proj.weight' || config.train_clip),
  )
  return new Map(own.map(([name, shape]) => [`${TEACHER}${name}`, shape]))
}

export interface FolderOptions {
  /** Where training.safetensors is not there: head and teacher as those of fresh weights of this seed. */
  fill?: number
  /** Whether moments and centres count, too; otherwise only weights. */
  whole?: boolean
}

/** Opens a folder to begin with. Throws VtpErrors `bad_config`, `bad_checkpoint`, usage errors `init_incomplete`, `bad_recipe`. */
export async function openStartFolder(
  folder: string,
  recipe: PretrainRecipe,
  { fill, whole = false }: FolderOptions = {},
): Promise<PretrainStart> {
  const configFile = path.join(folder, 'config.json')
  const configText = await readFile(configFile, 'utf8').catch((error: unknown) => {
    throw usageError('init_incomplete', `--init ${folder}: config.json cannot be read there: ${errorText(error)}`, [
      'give a folder with config.json and model.safetensors (training.safetensors, too, where there is one)',
    ])
  })
  const config = parseConfig(configText, configFile)
  const weights = await openWeights(folder, 'model.safetensors')
  let training: TensorFile | undefined
  const close = async (): Promise<void> => void (await Promise.all([weights.close(), training?.close()]))
  try {
    checkTensors(config, weights.tensors, folder)
    assertParts(config, recipe, configFile)
    const supervised = recipe.hyper_parameters.w_ssl > 0
    if (supervised || whole) training = await openTraining(folder, fill !== undefined || !supervised)
    const stored = training?.shapes ?? new Map<string, readonly number[]>()
    const has = (prefix: string): boolean => [...stored.keys()].some((name) => name.startsWith(prefix))
    const filled = supervised && fill !== undefined && !has(HEAD)
    if (supervised && !filled) assertTeacher(path.join(folder, 'training.safetensors'), stored, config)
    const named = (prefix: string): Shapes => new Map([...stored].filter(([name]) => name.startsWith(prefix)))
    const head = !supervised ? new Map() : filled ? headShapes(headWidth(config), recipe.config.head) : named(HEAD)
    const headNames = [...head.keys()]
    const fresh = { config, siglip: recipe.config.siglip, seed: fill ?? 0 }
    const buffers = new Map<string, Float32Array>()
    for (const name of weights.tensors.keys()) if (isBuffer(name)) buffers.set(name, await weights.readFloat32(name))
    const read = async (name: string): Promise<Float32Array> => {
      const own = filled && name.startsWith(TEACHER) ? name.slice(TEACHER.length) : name
      if (stored.has(`${STUDENT}${own}`)) return training!.readFloat32(`${STUDENT}${own}`)
      if (stored.has(own)) return training!.readFloat32(own)
      if (own.startsWith(HEAD)) return freshTensor(own, head.get(own)!, headNames.indexOf(own), fresh)
      return weights.readFloat32(own)
    }
    const optional = async (name: string): Promise<Float32Array | undefined> =>
      whole && stored.has(name) ? training!.readFloat32(name) : undefined
    return {
      folder,
      config,
      configText,
      head,
      teacher: !supervised ? new Map() : filled ? teacherShapes(config, head) : named(TEACHER),
      isBfloat16: (buffer) => weights.tensors.get(buffer)!.dtype === 'BF16',
      periods: (prefix) => buffers.get(`${prefix}.rope_embed.periods`)!,
      read,
      moment: (kind, name) => optional(`adam.${kind}.${name}`),
      centre: (name) => optional(`center.${name}`),
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

/** Throws usage error `bad_recipe` for a loss whose part the model lacks. */
function assertParts(config: VtpConfig, { hyper_parameters: given }: PretrainRecipe, place: string): void {
  const lacks = (what: string, setting: string): Error =>
    usageError('bad_recipe', `${what} has a weight, but ${place} says ${setting}: false`, [
      `set ${setting}, or give the loss the weight 0`,
    ])
  if (given.w_clip > 0 && !config.train_clip) throw lacks('w_clip', 'train_clip')
  if (given.w_rec > 0 && !config.train_reconstruction) throw lacks('w_rec', 'train_reconstruction')
  if (given.w_rec > 0 && config.vision_patch_size !== DECODER_UPSCALE)
    throw usageError(
      'bad_recipe',
      `w_rec has a weight, but ${place} has patches of ${config.vision_patch_size}: the decoder makes ${DECODER_UPSCALE} pixels of each`,
      [`set vision_patch_size: ${DECODER_UPSCALE}, or give w_rec the weight 0`],
    )
}

/** Undefined where there is none, and it need not be. */
async function openTraining(folder: string, mayLack: boolean): Promise<TensorFile | undefined> {
  try {
    return await openTensorFile(path.join(folder, 'training.safetensors'))
  } catch (error) {
    if (error instanceof VtpError && error.code !== 'file_unreadable') throw error
    if (mayLack) return undefined
    throw usageError('init_incomplete', `--init ${folder} has no training.safetensors that can be read`, [
      'self-supervision begins with the head (dino_head.*) and the teacher (teacher_*) in that file',
      'or set w_ssl to 0',
    ])
  }
}

function assertTeacher(file: string, stored: Shapes, config: VtpConfig): void {
  const head = new Map([...stored].filter(([name]) => name.startsWith(HEAD)))
  const bad: string[] = head.size === 0 ? [`${HEAD}* is missing`] : []
  for (const [name, shape] of teacherShapes(config, head)) {
    const found = stored.get(name)
    if (!found) bad.push(`${name} is missing`)
    else if (String(found) !== String(shape)) bad.push(`${name} is [${found}], not [${shape}]`)
  }
  if (bad.length === 0) return
  throw new VtpError(`${file} does not fit the model: ${bad.slice(0, 5).join('; ')}`, {
    code: 'bad_checkpoint',
    suggestions: ['self-supervision needs the head (dino_head.*) and the teacher (teacher_*)', 'or set w_ssl to 0'],
  })
}
