/**
 * How many steps one run of the engine takes. On a GPU the state goes there and back with every run, so that a run
 * should be long; who stops a training waits for its end. The number decides no bit.
 */
import type { PreparedTrain } from './prepare.js'

/** A run takes about this long. */
const RUN_SECONDS = 20
/** Of the batches of a run. */
const MOST_BYTES = 2 ** 29
const MOST_STEPS = 256

export interface Pace {
  /** Steps of the next run. */
  steps(): number
  took(steps: number, seconds: number): void
}

/** The number that was asked for; else one, and on CUDA's devices a number that grows with the first runs. */
export function createPace({ stepsPerRun, plan, config }: PreparedTrain): Pace {
  const fixed = stepsPerRun ?? (plan.device === 'cuda' ? undefined : 1)
  const batchBytes = 2 * 4 * plan.batch * config.inChannels * config.inputSize ** 2
  const most = Math.max(1, Math.min(MOST_STEPS, Math.floor(MOST_BYTES / batchBytes)))
  let next = 1
  return {
    steps: () => fixed ?? next,
    took(steps, seconds) {
      // At most twice as many: a longer run has a smaller share of copies, and is faster than the last one tells.
      next = Math.max(1, Math.min(most, 2 * steps, Math.floor((RUN_SECONDS * steps) / seconds)))
    },
  }
}
