/**
 * Checkpoints of pre-training: a folder that is there whole or not at all. `config.json` and `model.safetensors` are the
 * published layout, which every command and the official loader open; `training.safetensors` beside them holds the rest
 * of the state, `training.json` what it is the state of.
 */
import { rename, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { removeLeftOvers, syncFolder, temporaryName, writeAtomically } from '../io/atomic.js'
import { makeFolder } from '../io/make-folder.js'
import { storageError } from '../io/storage-error.js'
import { type FloatTensor, writeSafetensors } from '../io/write-safetensors.js'
import { expectedTensors } from '../model/vtp/tensors.js'
import type { JointState } from './joint.js'
import type { PretrainStart } from './start.js'
import { HEAD, isBuffer, STUDENT, TEACHER } from './state.js'

export const EXPORTS = ['student', 'teacher'] as const
export type Export = (typeof EXPORTS)[number]

export interface CheckpointOptions {
  /** Whose trunk and projection the model file gets. */
  exported: Export
  /** For `training.json`; undefined: there is none. */
  note?: object
}

/** Writes a checkpoint, in place of what has its name. Throws VtpErrors for a full disk, with what was there intact. */
export async function writeCheckpoint(
  folder: string,
  start: PretrainStart,
  state: JointState,
  options: CheckpointOptions,
): Promise<void> {
  const parent = path.dirname(path.resolve(folder))
  const made = temporaryName(folder)
  try {
    await makeFolder(parent)
    await removeLeftOvers(parent)
    await makeFolder(path.resolve(made))
    await writeFiles(made, start, state, options)
    await rm(folder, { recursive: true, force: true })
    await rename(made, folder)
    await syncFolder(parent)
  } catch (error) {
    await rm(made, { recursive: true, force: true }).catch(() => {})
    throw storageError('Cannot write', folder, error)
  }
}

async function writeFiles(
  folder: string,
  start: PretrainStart,
  state: JointState,
  { exported, note }: CheckpointOptions,
): Promise<void> {
  const text = (name: string, content: string): Promise<void> =>
    writeAtomically(path.join(folder, name), (tmp) => writeFile(tmp, content))
  await text('config.json', start.configText)
  if (note) await text('training.json', `${JSON.stringify(note, null, 1)}\n`)
  await writeSafetensors(path.join(folder, 'training.safetensors'), await trainingTensors(start, state, exported))
  await writeSafetensors(path.join(folder, 'model.safetensors'), await modelTensors(start, state, exported), {
    format: 'pt',
  })
}

async function modelTensors(start: PretrainStart, { trained }: JointState, exported: Export): Promise<FloatTensor[]> {
  const now = new Map(trained.map((tensor) => [tensor.name, tensor]))
  const model: FloatTensor[] = []
  for (const [name, shape] of expectedTensors(start.config)) {
    const tensor = now.get(name)
    const teacher = exported === 'teacher' ? tensor?.teacher : undefined
    const values = teacher ?? tensor?.parameter ?? (await start.read(name))
    model.push({ name, shape, values, dtype: isBuffer(name) && start.isBfloat16(name) ? 'BF16' : 'F32' })
  }
  return model
}

async function trainingTensors(
  start: PretrainStart,
  { trained, centres }: JointState,
  exported: Export,
): Promise<FloatTensor[]> {
  const training: FloatTensor[] = []
  for (const { name, shape, parameter, teacher, expAvg, expAvgSq } of trained) {
    if (name.startsWith(HEAD)) training.push({ name, shape, values: parameter })
    // The student's own, where the model file holds the teacher.
    else if (exported === 'teacher' && teacher) training.push({ name: `${STUDENT}${name}`, shape, values: parameter })
    if (teacher) training.push({ name: `${TEACHER}${name}`, shape, values: teacher })
    training.push({ name: `adam.exp_avg.${name}`, shape, values: expAvg })
    training.push({ name: `adam.exp_avg_sq.${name}`, shape, values: expAvgSq })
  }
  // What no loss reaches, as it was: the folder stays whole.
  const written = new Set(training.map(({ name }) => name))
  for (const [name, shape] of start.teacher)
    if (!written.has(name)) training.push({ name, shape, values: await start.read(name) })
  const centreShapes: Record<string, number[]> = { dino: [1], ibot: [1, 1] }
  for (const [name, values] of centres)
    training.push({ name: `center.${name}`, shape: [...centreShapes[name]!, values.length], values })
  return training
}
