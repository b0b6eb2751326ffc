/** A probe in training, on disk: what is done, and the weights and momenta of every group of heads. */
import { readCheckpoint, underPrefix, withPrefix, writeCheckpoint } from '../resume/checkpoint.js'
import type { TrainerState } from './trainer.js'

export interface ProbeHistory {
  /** Accuracies in percent after each epoch, by head. */
  accuracies: Record<string, number>[]
  /** Mean over an epoch's steps of the loss, summed over heads. */
  losses: number[]
}

export interface ProbeProgress extends ProbeHistory {
  identity: string
  /** The next step to do. */
  epoch: number
  step: number
  /** Losses of the epoch so far, summed. */
  lossSum: number
  /** Readings of training images that failed. */
  trainRejects: number
  /** Validation images that cannot be read; undefined until all have been tried. */
  valRejects?: number
}

export function writeProbe(file: string, progress: ProbeProgress, states: TrainerState[]): Promise<void> {
  const arrays = states.map((state, i) => withPrefix(`group ${i}`, state))
  return writeCheckpoint(file, { head: { ...progress, groups: states.length }, arrays: Object.assign({}, ...arrays) })
}

/** Undefined when there is none. Throws VtpError `evaluation_damaged`. */
export async function readProbe(
  file: string,
): Promise<{ progress: ProbeProgress; states: TrainerState[] } | undefined> {
  const saved = await readCheckpoint<ProbeProgress & { groups: number }>(file)
  if (!saved) return undefined
  const { groups, ...progress } = saved.head
  const states = Array.from({ length: groups }, (_, i) => underPrefix(`group ${i}`, saved.arrays) as TrainerState)
  return { progress, states }
}
