/** Ctrl-C and SIGTERM: the first asks the run to stop cleanly, the second ends the process at once. */
import { haltThreads } from '../../async/thread.js'
import { EXIT } from '../../errors.js'

export interface StopSignals {
  readonly signal: AbortSignal
  /** Gives the signals back to their default behaviour. */
  release(): void
}

/** A batch that takes longer than this to end is not waited for. */
const LAST_BATCH_MS = 15_000

/** Ends the process as soon as the batch in hand lets it. */
async function endNow(): Promise<never> {
  setTimeout(() => process.kill(process.pid, 'SIGKILL'), LAST_BATCH_MS)
  await haltThreads()
  process.exit(EXIT.interrupted)
}

export function onStopSignals(note: (line: string) => void): StopSignals {
  const controller = new AbortController()
  const handle = (): void => {
    if (controller.signal.aborted) {
      void endNow()
      return
    }
    controller.abort()
    note('Stopping: the batches in flight are finished first. Press Ctrl-C again to stop at once.')
  }
  process.on('SIGINT', handle)
  process.on('SIGTERM', handle)
  return {
    signal: controller.signal,
    release() {
      // While a stopped run winds up, a further Ctrl-C still means: now.
      if (controller.signal.aborted) return
      process.off('SIGINT', handle)
      process.off('SIGTERM', handle)
    },
  }
}
