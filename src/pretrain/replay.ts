/**
 * Given batches in place of data: a safetensors file with `stepI.clip_u8`, `global_u8`, `local_u8`, `rec_u8`,
 * `tokens`, `masks`, `mask_indices`, `masks_weight` and `keep.…`. Everything that a step draws is in it, so that whole
 * steps can be compared with another implementation's. What does not fit the model is refused before the first step.
 */
import { usageError } from '../errors.js'
import { openSafetensors, type SafetensorsFile } from '../io/safetensors.js'
import { textLength, type VtpConfig } from '../model/vtp/config.js'
import type { BatchTensor, JointBatch } from './joint.js'
import type { PretrainRecipe } from './recipe.js'
import type { Shapes } from './state.js'

const TYPES: Record<string, BatchTensor['type']> = { U8: 'uint8', I64: 'int64', F32: 'float32', BOOL: 'bool' }

export interface Replay {
  /** Shapes of the first step's tensors: every step has them, but for the number of masked patches. */
  readonly shapes: Shapes
  batch(step: number): Promise<JointBatch>
  close(): Promise<void>
}

interface Wanted {
  name: string
  dtype: 'U8' | 'I64' | 'F32' | 'BOOL'
  axes: number
}

/** The tensors that a step of this recipe needs. */
function wantedTensors({ hyper_parameters: given }: PretrainRecipe): Wanted[] {
  const views = (name: string): Wanted => ({ name, dtype: 'U8', axes: 4 })
  const wanted: Wanted[] = []
  if (given.w_clip > 0) wanted.push(views('clip_u8'), { name: 'tokens', dtype: 'I64', axes: 2 })
  if (given.w_ssl > 0) {
    wanted.push(views('global_u8'), { name: 'masks', dtype: 'BOOL', axes: 2 })
    wanted.push({ name: 'mask_indices', dtype: 'I64', axes: 1 }, { name: 'masks_weight', dtype: 'F32', axes: 1 })
    if (given.local_crops > 0) wanted.push(views('local_u8'))
  }
  if (given.w_rec > 0) wanted.push(views('rec_u8'))
  return wanted
}

/** Opens a file of batches. Throws usage error `bad_replay`. */
export async function openReplay(
  path: string,
  config: VtpConfig,
  recipe: PretrainRecipe,
  steps: number,
): Promise<Replay> {
  if (recipe.config.identical_captions === 'positives' && recipe.hyper_parameters.w_clip > 0)
    throw usageError('bad_replay', 'Given batches do not say which captions are the same', [
      'set config.identical_captions to negatives: --set config.identical_captions=negatives',
    ])
  const file = await openSafetensors(path)
  try {
    const shapes = new Map<string, readonly number[]>()
    for (let step = 0; step < steps; step++) checkStep(file, config, recipe, step, shapes)
    return { shapes, batch: (step) => readStep(file, config, step), close: () => file.close() }
  } catch (error) {
    await file.close()
    throw error
  }
}

function bad(file: SafetensorsFile, what: string, suggestion = 'see the layout in `vtp pretrain --help`'): Error {
  return usageError('bad_replay', `${file.path}: ${what}`, [suggestion])
}

function checkStep(
  file: SafetensorsFile,
  config: VtpConfig,
  recipe: PretrainRecipe,
  step: number,
  shapes: Map<string, readonly number[]>,
): void {
  const given = recipe.hyper_parameters
  const shapeOf = (name: string): readonly number[] => file.tensors.get(`step${step}.${name}`)!.shape
  for (const { name, dtype, axes } of wantedTensors(recipe)) {
    const full = `step${step}.${name}`
    const tensor = file.tensors.get(full)
    if (!tensor) throw bad(file, `it has no ${full}`, 'give fewer --steps, or a file that has them')
    if (tensor.dtype !== dtype || tensor.shape.length !== axes || tensor.shape.includes(0))
      throw bad(
        file,
        `${full} is ${tensor.dtype} [${tensor.shape}]; ${dtype} with ${axes} axes, none empty, was expected`,
      )
    if (dtype === 'U8') checkView(file, full, tensor.shape, config)
  }
  const prefix = `step${step}.`
  const own = [...file.tensors.values()].filter(({ name }) => name.startsWith(prefix))
  for (const { name, shape } of own) {
    const short = name.slice(prefix.length)
    const first = shapes.get(short)
    if (step === 0) shapes.set(short, shape)
    else if (!/^(mask_indices|masks_weight|upperbound)$/.test(short) && String(first) !== String(shape))
      throw bad(file, `${name} is [${shape}], but step0.${short} is ${first ? `[${first}]` : 'not there'}`)
  }
  if (given.w_clip > 0) {
    const [batch, length] = shapeOf('tokens')
    if (batch !== shapeOf('clip_u8')[0]) throw bad(file, `${prefix}tokens and ${prefix}clip_u8 differ in rows`)
    if (length !== textLength(config))
      throw bad(file, `${prefix}tokens has ${length} positions; the model has ${textLength(config)}`)
  }
  if (given.w_ssl > 0) checkMasks(file, config, given, prefix, shapeOf)
  checkKept(file, config, recipe, prefix)
}

/** Kept rows are there exactly where the recipe has stochastic depth. */
function checkKept(
  file: SafetensorsFile,
  config: VtpConfig,
  { config: given, hyper_parameters: weights }: PretrainRecipe,
  prefix: string,
): void {
  for (const branch of ['clip', 'ssl', 'rec'] as const) {
    if (weights[`w_${branch}`] === 0) continue
    const rate = given.drop[`${branch}_drop_rate`]
    const views = branch !== 'ssl' ? [''] : weights.local_crops > 0 ? ['.global', '.local'] : ['.global']
    for (let block = 0; block < config.vision_depth; block++)
      for (const part of ['attn', 'ffn'])
        for (const view of views) {
          const name = `${prefix}keep.${branch}.block${block}.${part}${view}`
          if (file.tensors.has(name) === rate > 0) continue
          throw bad(
            file,
            `${rate > 0 ? `it has no ${name}` : `it has ${name}`}, but the recipe's ${branch}_drop_rate is ${rate}`,
            `set config.drop.${branch}_drop_rate to what the batches were made with`,
          )
        }
  }
}

function checkView(file: SafetensorsFile, name: string, shape: readonly number[], config: VtpConfig): void {
  const patch = config.vision_patch_size
  const [, height, width, channels] = shape as [number, number, number, number]
  if (channels !== 3 || height % patch !== 0 || width % patch !== 0)
    throw bad(file, `${name} is [${shape}]; RGB images of whole patches of ${patch} were expected`)
}

function checkMasks(
  file: SafetensorsFile,
  config: VtpConfig,
  given: PretrainRecipe['hyper_parameters'],
  prefix: string,
  shapeOf: (name: string) => readonly number[],
): void {
  const patch = config.vision_patch_size
  const [crops, height, width] = shapeOf('global_u8') as [number, number, number]
  const images = crops / 2
  if (crops % 2 !== 0) throw bad(file, `${prefix}global_u8 has ${crops} crops; two of each image were expected`)
  if (images < 2) {
    throw bad(
      file,
      `${prefix}global_u8 has the crops of 1 image: KoLeo and Sinkhorn-Knopp compare images with each other`,
      'give at least 2 images, or set w_ssl to 0',
    )
  }
  const count = (height / patch) * (width / patch)
  if (String(shapeOf('masks')) !== String([crops, count]))
    throw bad(file, `${prefix}masks is [${shapeOf('masks')}]; [${crops},${count}] was expected`)
  if (shapeOf('mask_indices')[0] !== shapeOf('masks_weight')[0])
    throw bad(file, `${prefix}mask_indices and ${prefix}masks_weight differ in length`)
  if (given.local_crops > 0 && shapeOf('local_u8')[0] !== images * given.local_crops)
    throw bad(
      file,
      `${prefix}local_u8 has ${shapeOf('local_u8')[0]} crops; ${images} images × ${given.local_crops} (local_crops) were expected`,
    )
}

async function readStep(file: SafetensorsFile, config: VtpConfig, step: number): Promise<JointBatch> {
  const prefix = `step${step}.`
  const batch = new Map<string, BatchTensor>()
  for (const { name, dtype, shape } of file.tensors.values()) {
    const type = TYPES[dtype]
    if (!name.startsWith(prefix) || !type) continue
    const bytes = new Uint8Array(await file.readBytes(name)).slice()
    const data =
      dtype === 'I64' ? new BigInt64Array(bytes.buffer) : dtype === 'F32' ? new Float32Array(bytes.buffer) : bytes
    batch.set(name.slice(prefix.length), { type, data, dims: shape })
  }
  checkValues(file, config, prefix, batch)
  return batch
}

/** Indices that the engine would follow out of its tables. */
function checkValues(file: SafetensorsFile, config: VtpConfig, prefix: string, batch: JointBatch): void {
  const within = (name: string, most: number | undefined, distinct: boolean): void => {
    const tensor = batch.get(name)
    if (!tensor || most === undefined) return
    const values = [...(tensor.data as BigInt64Array)].map(Number)
    const wrong = values.find((value) => value < 0 || value >= most)
    if (wrong !== undefined) throw bad(file, `${prefix}${name} holds ${wrong}; 0 to ${most - 1} were expected`)
    if (distinct && new Set(values).size < values.length) throw bad(file, `${prefix}${name} names a row twice`)
  }
  const rows = (name: string): number | undefined => batch.get(name)?.dims[0]
  within('tokens', config.text_vocab_size, false)
  const masks = batch.get('masks')
  if (masks) within('mask_indices', masks.dims[0]! * masks.dims[1]!, true)
  for (const name of batch.keys()) {
    if (!name.startsWith('keep.')) continue
    const [, branch] = name.split('.')
    const view = branch === 'ssl' ? (name.endsWith('.local') ? 'local_u8' : 'global_u8') : `${branch}_u8`
    within(name, rows(view), true)
  }
}
