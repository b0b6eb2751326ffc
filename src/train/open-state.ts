/** The state that a training goes on from, and the engine with it. */
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { VtpError } from '../errors.js'
import { openStore } from '../io/open-store.js'
import { checkZip } from '../io/zip.js'
import { checkDitTensors } from '../model/lightningdit/tensors.js'
import { openStart, type StartState } from './checkpoint.js'
import { newestState, type SavedState } from './folder.js'
import { freshTensor } from './init.js'
import type { LossScale } from './loss-scale.js'
import { trainPlans } from './plan.js'
import type { PreparedTrain } from './prepare.js'
import type { TrainRequest } from './request.js'
import { type InitialState, openTrainStep, type TrainSettings, type TrainStep } from './step.js'

export interface FirstState {
  /** Steps that were done. */
  step: number
  /** Steps that the optimiser has counted. */
  updates: number
  lossScale?: LossScale
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
    const there = await trainPlans.load(store)
    if (!there) return undefined
    trainPlans.check(there, plan, dest)
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
    const state = await openWhole(path.join(dest, from.name)).catch((error: unknown) => {
      throw unreadable(error)
    })
    try {
      checkDitTensors(config, state.shapes, from.name)
      if (state.step !== from.step)
        throw new VtpError(`${from.name} in ${dest} is of step ${state.step}`, {
          code: 'bad_checkpoint',
          suggestions: [REMOVE_IT],
        })
    } catch (error) {
      await state.close()
      throw error
    }
    return state
  }
  // Whoever has opened --init closes it.
  const close = async (): Promise<void> => {}
  if (given) return { ...given, close }
  const fresh = freshTensor(config, seed)
  const read: InitialState = async (kind, name) => {
    const values = fresh(name)
    return kind === 'param' || kind === 'ema' ? values : values.fill(0)
  }
  return { step: 0, updates: 0, read, close }
}

/** A state whose every byte is as it was written. */
async function openWhole(file: string): Promise<StartState> {
  const state = await openStart(file)
  await checkZip(file).catch(async (error: unknown) => {
    await state.close()
    throw error
  })
  return state
}

const REMOVE_IT = 'remove that file: the training goes on from the one before it'

/** Nobody can fetch a checkpoint of DEST again. */
function unreadable(error: unknown): unknown {
  if (!(error instanceof VtpError)) return error
  const { message, code, exitCode, cause } = error
  return new VtpError(message, { code, exitCode, cause, suggestions: [REMOVE_IT] })
}

/** The engine with a first state. */
export function openEngine(
  settings: TrainSettings,
  { read, lossScale }: FirstState,
  { engine, threads, cacheDir }: Pick<TrainRequest, 'engine' | 'threads' | 'cacheDir'>,
): Promise<TrainStep> {
  return openTrainStep(settings, read, { threads, cacheDir, providers: [...engine.lanes[0]!] }, lossScale)
}
