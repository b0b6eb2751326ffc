/** Ctrl-C and SIGTERM: the first asks the run to stop cleanly, the second ends the process at once. */
import { EXIT } from '../errors.js'

export interface StopSignals {
  readonly signal: AbortSignal
  /** Gives the signals back to their default behaviour. */
  release(): void
}

export function onStopSignals(note: (line: string) => void): StopSignals {
  const controller = new AbortController()
  const handle = (): void => {
    if (controller.signal.aborted) process.exit(EXIT.interrupted)
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
