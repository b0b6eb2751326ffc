/** A probe in training as its checkpoint has it: what is done, and the weights and momenta of every group of heads. */
import { mergeCounts, type RejectCounts } from '../../pipeline/ledger/rejects.js'
import { type NumberArrays, underPrefix, withPrefix } from '../pass/checkpoint.js'
import type { TrainerState } from './trainer.js'

export interface ProbeProgress {
  /** Accuracies in percent after each epoch, by head. */
  accuracies: Record<string, number>[]
  /** Mean over an epoch's steps of the loss, summed over heads. */
  losses: number[]
  /** The next step to do. */
  epoch: number
  step: number
  /** Losses of the epoch so far, summed. */
  lossSum: number
  /** Readings of training images that failed. */
  trainRejects: number
  /** The same by reason. */
  trainRejectsByCode?: RejectCounts
  /** Validation images that cannot be read, by reason. */
  valRejectsByCode?: RejectCounts
  /** Validation images that cannot be read; undefined until all have been tried. */
  valRejects?: number
}

export function sumOfCounts(...all: (RejectCounts | undefined)[]): RejectCounts {
  const sum: RejectCounts = {}
  for (const counts of all) if (counts) mergeCounts(sum, counts)
  return sum
}

/** Readings that failed, of both sets. */
export function rejectedReadings({ trainRejects, valRejects = 0 }: ProbeProgress): number {
  return trainRejects + valRejects
}

export function joinStates(states: readonly TrainerState[]): NumberArrays {
  return Object.assign({}, ...states.map((state, group) => withPrefix(`group ${group}`, state)))
}

/** One of the joined states; undefined at the very beginning. */
export function stateOfGroup(arrays: NumberArrays | undefined, group: number): TrainerState | undefined {
  return underPrefix(`group ${group}`, arrays) as TrainerState | undefined
}
