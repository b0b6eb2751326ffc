/** How fast a training goes, and its loss without the noise of single batches. */

export interface TrainProgress {
  step: number
  steps: number
  /** A mean over the last hundred steps or so, younger ones weigh more. */
  loss: number
  imagesPerSecond: number
  etaSeconds: number | null
  fid?: number
}

const SMOOTHING = 0.98
/** Steps that the speed is of. */
const WINDOW = 20

export function createTrainMeter(steps: number, batch: number) {
  let sum = 0
  let weight = 0
  const ends: number[] = [performance.now()]
  return {
    /** After a step, that ended at `endedMs` of this process's clock. */
    add(step: number, loss: number, endedMs = performance.now()): TrainProgress {
      sum = SMOOTHING * sum + (1 - SMOOTHING) * loss
      weight = SMOOTHING * weight + (1 - SMOOTHING)
      ends.push(endedMs)
      if (ends.length > WINDOW + 1) ends.shift()
      const seconds = (ends.at(-1)! - ends[0]!) / 1000 / (ends.length - 1)
      return {
        step,
        steps,
        loss: sum / weight,
        imagesPerSecond: batch / Math.max(seconds, 1e-6),
        etaSeconds: ends.length > 3 ? (steps - step) * seconds : null,
      }
    },
    /** Something else took time: it does not count. */
    pause(): void {
      ends.length = 0
      ends.push(performance.now())
    },
  }
}
