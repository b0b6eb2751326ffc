/**
 * Checkpoints of pre-training: a folder that is there whole or not at all. `config.json` and `model.safetensors` are the
 * published layout, which every command and the official loader open; `training.safetensors` beside them holds the rest
 * of the state, `training.json` what it is the state of.
 */
import { readFile, rename, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { VtpError } from '../errors.js'
import { removeLeftOvers, syncFolder, temporaryName, writeAtomically } from '../io/atomic.js'
import { makeFolder } from '../io/make-folder.js'
import { storageError } from '../io/storage-error.js'
import { type FloatTensor, writeSafetensors } from '../io/write-safetensors.js'
import { expectedTensors } from '../model/vtp/tensors.js'
import type { SavedState } from '../train/folder.js'
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
export function writeCheckpoint(
  folder: string,
  start: PretrainStart,
  state: JointState,
  { exported, note }: CheckpointOptions,
): Promise<void> {
  return writeCheckpointFolder(folder, { configText: start.configText, note }, async (made) => {
    await writeSafetensors(path.join(made, 'training.safetensors'), trainingTensors(state, exported))
    await writeSafetensors(path.join(made, 'model.safetensors'), await modelTensors(start, state, exported), {
      format: 'pt',
    })
  })
}

/** A checkpoint's folder, whole or not at all: configuration, note, and what `write` puts into the folder it is given. */
export async function writeCheckpointFolder(
  folder: string,
  { configText, note }: { configText: string; note?: object },
  write: (made: string) => Promise<void>,
): Promise<void> {
  const parent = path.dirname(path.resolve(folder))
  const made = temporaryName(folder)
  const text = (name: string, content: string): Promise<void> =>
    writeAtomically(path.join(made, name), (tmp) => writeFile(tmp, content))
  try {
    await makeFolder(parent)
    await removeLeftOvers(parent)
    await makeFolder(path.resolve(made))
    await text('config.json', configText)
    if (note) await text('training.json', `${JSON.stringify(note, null, 1)}\n`)
    await write(made)
    await rm(folder, { recursive: true, force: true })
    await rename(made, folder)
    await syncFolder(parent)
  } catch (error) {
    await rm(made, { recursive: true, force: true }).catch(() => {})
    throw storageError('Cannot write', folder, error)
  }
}

async function modelTensors(
  start: PretrainStart,
  { trained, followers }: JointState,
  exported: Export,
): Promise<FloatTensor[]> {
  const now = new Map([...trained, ...followers].map((tensor) => [tensor.name, tensor]))
  const model: FloatTensor[] = []
  for (const [name, shape] of expectedTensors(start.config)) {
    const tensor = now.get(name)
    const teacher = exported === 'teacher' && !isBuffer(name) ? tensor?.teacher : undefined
    const values = teacher ?? tensor?.parameter ?? (await start.read(name))
    model.push({ name, shape, values, dtype: isBuffer(name) && start.isBfloat16(name) ? 'BF16' : 'F32' })
  }
  return model
}

function trainingTensors({ trained, followers, centres }: JointState, exported: Export): FloatTensor[] {
  const training: FloatTensor[] = []
  for (const { name, shape, parameter, teacher, expAvg, expAvgSq } of trained) {
    if (name.startsWith(HEAD)) training.push({ name, shape, values: parameter })
    // The student's own, where the model file holds the teacher.
    else if (exported === 'teacher' && teacher) training.push({ name: `${STUDENT}${name}`, shape, values: parameter })
    if (teacher) training.push({ name: `${TEACHER}${name}`, shape, values: teacher })
    training.push({ name: `adam.exp_avg.${name}`, shape, values: expAvg })
    training.push({ name: `adam.exp_avg_sq.${name}`, shape, values: expAvgSq })
  }
  for (const { name, shape, parameter, teacher } of followers) {
    if (exported === 'teacher' && !isBuffer(name))
      training.push({ name: `${STUDENT}${name}`, shape, values: parameter })
    training.push({ name: `${TEACHER}${name}`, shape, values: teacher })
  }
  const centreShapes: Record<string, number[]> = { dino: [1], ibot: [1, 1] }
  for (const [name, values] of centres)
    training.push({ name: `center.${name}`, shape: [...centreShapes[name]!, values.length], values })
  return training
}

/** Throws VtpError `bad_checkpoint` for a state that is not of the step in its name. */
export async function assertStep(dest: string, { name, step }: SavedState): Promise<void> {
  const text = await readFile(path.join(dest, name, 'training.json'), 'utf8').catch(() => '{}')
  const found = (JSON.parse(text) as { step?: unknown }).step
  if (found === step) return
  throw new VtpError(`${name} in ${dest} is of step ${found}`, {
    code: 'bad_checkpoint',
    suggestions: ['remove that folder: the training goes on from the one before it'],
  })
}
