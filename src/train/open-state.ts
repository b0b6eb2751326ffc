/** The state that a training goes on from, and the engine with it. */
import path from 'node:path'
import { VtpError } from '../errors.js'
import { checkDitTensors } from '../model/lightningdit/tensors.js'
import { openStart } from './checkpoint.js'
import type { SavedState } from './folder.js'
import { freshTensor } from './init.js'
import type { PreparedTrain } from './prepare.js'
import type { TrainRequest } from './request.js'
import { type InitialState, openTrainStep, type TrainSettings, type TrainStep } from './step.js'

export interface FirstState {
  /** Steps that were done. */
  step: number
  /** Values of a tensor; the array belongs to whoever asks. */
  read: InitialState
  close(): Promise<void>
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
    return { step: state.step, read: state.read, close: state.close }
  }
  // Whoever has opened --init closes it.
  const close = async (): Promise<void> => {}
  if (given) return { step: given.step, read: given.read, close }
  const fresh = freshTensor(config, seed)
  const read: InitialState = async (kind, name) => {
    const values = fresh(name)
    return kind === 'param' || kind === 'ema' ? values : values.fill(0)
  }
  return { step: 0, read, close }
}

/** The engine with a first state. */
export function openEngine(
  settings: TrainSettings,
  { read }: FirstState,
  { engine, threads, cacheDir }: Pick<TrainRequest, 'engine' | 'threads' | 'cacheDir'>,
): Promise<TrainStep> {
  return openTrainStep(settings, read, { threads, cacheDir, providers: [...engine.lanes[0]!] })
}
