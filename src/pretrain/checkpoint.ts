/**
 * Folders that hold a pre-training state. `config.json` and `model.safetensors` are the published layout, which every
 * command and the official loader open; `training.safetensors` beside them holds the head, the teacher, AdamW's moments
 * and the centres.
 */
import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { usageError, VtpError } from '../errors.js'
import { writeAtomically } from '../io/atomic.js'
import { openTensorFile, type TensorFile } from '../io/tensor-file.js'
import { openWeights, type Weights } from '../io/weights.js'
import { type FloatTensor, writeSafetensors } from '../io/write-safetensors.js'
import { parseConfig, type VtpConfig } from '../model/vtp/config.js'
import { checkTensors, expectedTensors } from '../model/vtp/tensors.js'
import type { JointInitial, JointState } from './joint.js'
import type { PretrainRecipe } from './recipe.js'
import { HEAD, hasTeacher, isBuffer, type Shapes, TEACHER } from './state.js'

export const EXPORTS = ['student', 'teacher'] as const
export type Export = (typeof EXPORTS)[number]

export interface PretrainFolder extends Omit<JointInitial, 'perceptual'> {
  readonly folder: string
  readonly weights: Weights
  /** The text of `config.json`: it is copied as it is. */
  readonly configText: string
  /** Shapes of the teacher's tensors, with their prefix; empty without the self-supervised branch. */
  readonly teacher: Shapes
  close(): Promise<void>
}

/** Opens a folder to begin with. Throws VtpErrors `bad_config`, `bad_checkpoint`, usage error `init_incomplete`. */
export async function openPretrainFolder(folder: string, recipe: PretrainRecipe): Promise<PretrainFolder> {
  const configFile = path.join(folder, 'config.json')
  const configText = await readFile(configFile, 'utf8').catch((error: unknown) => {
    throw usageError('init_incomplete', `--init ${folder} has no config.json that can be read`, [
      'give a folder with config.json, model.safetensors and training.safetensors',
      String((error as NodeJS.ErrnoException).code ?? error),
    ])
  })
  const config = parseConfig(configText, configFile)
  const weights = await openWeights(folder, 'model.safetensors')
  let training: TensorFile | undefined
  const close = async (): Promise<void> => void (await Promise.all([weights.close(), training?.close()]))
  try {
    checkTensors(config, weights.tensors, folder)
    assertParts(config, recipe, folder)
    if (recipe.hyper_parameters.w_ssl > 0) training = await openTraining(folder, config)
    const head = new Map([...(training?.shapes ?? [])].filter(([name]) => name.startsWith(HEAD)))
    const teacher = new Map([...(training?.shapes ?? [])].filter(([name]) => name.startsWith(TEACHER)))
    const buffers = new Map<string, Float32Array>()
    for (const name of weights.tensors.keys()) if (isBuffer(name)) buffers.set(name, await weights.readFloat32(name))
    return {
      folder,
      weights,
      configText,
      config,
      head,
      teacher,
      periods: (prefix) => buffers.get(`${prefix}.rope_embed.periods`)!,
      read: (name) =>
        name.startsWith(HEAD) || name.startsWith(TEACHER) ? training!.readFloat32(name) : weights.readFloat32(name),
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

/** Throws usage error `bad_recipe` for a loss whose part the model lacks. */
function assertParts(config: VtpConfig, { hyper_parameters: given }: PretrainRecipe, folder: string): void {
  const lacks = (what: string, setting: string): Error =>
    usageError('bad_recipe', `${what} has a weight, but ${folder}/config.json says ${setting}: false`, [
      `set ${setting}, or give the loss the weight 0`,
    ])
  if (given.w_clip > 0 && !config.train_clip) throw lacks('w_clip', 'train_clip')
  if (given.w_rec > 0 && !config.train_reconstruction) throw lacks('w_rec', 'train_reconstruction')
}

async function openTraining(folder: string, config: VtpConfig): Promise<TensorFile> {
  const file = path.join(folder, 'training.safetensors')
  const training = await openTensorFile(file).catch((error: unknown) => {
    if (error instanceof VtpError && error.code !== 'file_unreadable') throw error
    throw usageError('init_incomplete', `--init ${folder} has no training.safetensors that can be read`, [
      'self-supervision begins with the head (dino_head.*) and the teacher (teacher_*) in that file',
      'or set w_ssl to 0',
    ])
  })
  const shapes = new Map<string, readonly number[]>(expectedTensors(config))
  for (const [name, shape] of training.shapes) if (name.startsWith(HEAD)) shapes.set(name, shape)
  const bad: string[] = []
  if (![...training.shapes.keys()].some((name) => name.startsWith(HEAD))) bad.push(`${HEAD}* is missing`)
  for (const [name, shape] of shapes) {
    if (!hasTeacher(name) || isBuffer(name) || (name === 'visual_proj.weight' && !config.train_clip)) continue
    const found = training.shapes.get(`${TEACHER}${name}`)
    if (!found) bad.push(`${TEACHER}${name} is missing`)
    else if (String(found) !== String(shape)) bad.push(`${TEACHER}${name} is [${found}], not [${shape}]`)
  }
  if (bad.length === 0) return training
  await training.close()
  throw new VtpError(`${file} does not fit the model: ${bad.slice(0, 5).join('; ')}`, {
    code: 'bad_checkpoint',
    suggestions: ['self-supervision needs the head (dino_head.*) and the teacher (teacher_*)', 'or set w_ssl to 0'],
  })
}

/** Writes a checkpoint folder. */
export async function writeCheckpoint(
  folder: string,
  from: PretrainFolder,
  { trained, centres }: JointState,
  exported: Export,
): Promise<void> {
  const now = new Map(trained.map((tensor) => [tensor.name, tensor]))
  const model: FloatTensor[] = []
  for (const [name, shape] of expectedTensors(from.config)) {
    const tensor = now.get(name)
    const values =
      (exported === 'teacher' ? tensor?.teacher : undefined) ??
      tensor?.parameter ??
      (await from.weights.readFloat32(name))
    const wide = !isBuffer(name) || from.weights.tensors.get(name)!.dtype !== 'BF16'
    model.push({ name, shape, values, dtype: wide ? 'F32' : 'BF16' })
  }
  const training: FloatTensor[] = []
  for (const { name, shape, parameter, teacher, expAvg, expAvgSq } of trained) {
    if (name.startsWith(HEAD)) training.push({ name, shape, values: parameter })
    // The student's own, where the model file holds the teacher.
    else if (exported === 'teacher' && teacher) training.push({ name: `student_${name}`, shape, values: parameter })
    if (teacher) training.push({ name: `${TEACHER}${name}`, shape, values: teacher })
    training.push({ name: `adam.exp_avg.${name}`, shape, values: expAvg })
    training.push({ name: `adam.exp_avg_sq.${name}`, shape, values: expAvgSq })
  }
  if (from.head.size > 0) {
    // What no loss reaches, as it was: the folder stays whole.
    const written = new Set(training.map(({ name }) => name))
    for (const [name, shape] of from.teacher) {
      if (!written.has(name)) training.push({ name, shape, values: await from.read(name) })
    }
  }
  const centreShapes: Record<string, number[]> = { dino: [1], ibot: [1, 1] }
  for (const [name, values] of centres)
    training.push({ name: `center.${name}`, shape: [...centreShapes[name]!, values.length], values })
  await writeAtomically(path.join(folder, 'config.json'), (tmp) => writeFile(tmp, from.configText))
  await writeSafetensors(path.join(folder, 'training.safetensors'), training)
  await writeSafetensors(path.join(folder, 'model.safetensors'), model, { format: 'pt' })
}
