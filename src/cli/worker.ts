/** Which of how many workers this process is: flags, else `VTP_WORKER_INDEX`/`VTP_WORKER_COUNT`, else the only one. */
import { usageError } from '../errors.js'

export interface WorkerPlace {
  index: number
  count: number
  /** Where the numbers came from, for people. */
  from: string
}

/** Flags already carry the environment's values (every flag has its `VTP_…` variable). */
export function resolveWorker(index: number | undefined, count: number | undefined): WorkerPlace {
  if (index === undefined && count === undefined) return { index: 0, count: 1, from: 'alone' }
  if (index === undefined || count === undefined) {
    const [given, missing] = index === undefined ? ['count', 'index'] : ['index', 'count']
    throw usageError('bad_worker', `--worker-${given} is given without --worker-${missing}`, [
      'give both, e.g. --worker-index 0 --worker-count 4',
    ])
  }
  if (index >= count) {
    throw usageError('bad_worker', `--worker-index ${index} is not below --worker-count ${count}`, [
      `indices run from 0 to ${count - 1}`,
    ])
  }
  return { index, count, from: 'flags' }
}
