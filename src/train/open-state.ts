/** The state that a training goes on from, and the engine with it. */
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { VtpError } from '../errors.js'
import { openStore } from '../io/open-store.js'
import { checkDitTensors } from '../model/lightningdit/tensors.js'
import { openStart } from './checkpoint.js'
import { newestState, type SavedState } from './folder.js'
import { freshTensor } from './init.js'
import { checkTrainPlan, loadTrainPlan } from './plan.js'
import type { PreparedTrain } from './prepare.js'
import type { TrainRequest } from './request.js'
import { type InitialState, openTrainStep, type TrainSettings, type TrainStep } from './step.js'

export interface FirstState {
  /** Steps that were done. */
  step: number
  /** Steps that the optimiser has counted. */
  updates: number
  /** Values of a tensor; the array belongs to whoever asks. */
  read: InitialState
  close(): Promise<void>
}

/** The newest state of the same training in DEST. Throws usage error `other_plan`. */
export async function stateThere(
  { dest, overwrite }: TrainRequest,
  { plan }: PreparedTrain,
): Promise<SavedState | undefined> {
  if (overwrite || !(await stat(dest).catch(() => undefined))) return undefined
  const store = await openStore(dest)
  try {
    const there = await loadTrainPlan(store)
    if (!there) return undefined
    checkTrainPlan(there, plan, dest)
    return await newestState(dest, '.pt')
  } finally {
    await store.close()
  }
}

/** What DEST holds in `from`, else --init, else fresh weights of `seed`. Throws VtpError `bad_checkpoint`, `dit_mismatch`. */
export async function openFirstState(
  { config, start: given }: PreparedTrain,
  seed: number,
  from: SavedState | undefined,
  dest: string,
): Promise<FirstState> {
  if (from) {
    const state = await openStart(path.join(dest, from.name))
    try {
      checkDitTensors(config, state.shapes, from.name)
      if (state.step !== from.step)
        throw new VtpError(`${from.name} in ${dest} is of step ${state.step}`, {
          code: 'bad_checkpoint',
          suggestions: ['remove that file: the training goes on from the one before it'],
        })
    } catch (error) {
      await state.close()
      throw error
    }
    return { step: state.step, updates: state.updates, read: state.read, close: state.close }
  }
  // Whoever has opened --init closes it.
  const close = async (): Promise<void> => {}
  if (given) return { step: given.step, updates: given.updates, read: given.read, close }
  const fresh = freshTensor(config, seed)
  const read: InitialState = async (kind, name) => {
    const values = fresh(name)
    return kind === 'param' || kind === 'ema' ? values : values.fill(0)
  }
  return { step: 0, updates: 0, read, close }
}

/** The engine with a first state. */
export function openEngine(
  settings: TrainSettings,
  { read }: FirstState,
  { engine, threads, cacheDir }: Pick<TrainRequest, 'engine' | 'threads' | 'cacheDir'>,
): Promise<TrainStep> {
  return openTrainStep(settings, read, { threads, cacheDir, providers: [...engine.lanes[0]!] })
}
