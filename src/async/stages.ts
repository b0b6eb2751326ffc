/**
 * The building blocks of the pipeline: an ordered map over an async iterable with a bounded number of
 * calls in flight (back-pressure is the only flow control), and a limiter for work inside a stage.
 */
import pLimit from 'p-limit'

export { mapOrdered } from './map-ordered.js'

/**
 * Passes items on until `stop` aborts; the rest is dropped, and so are errors that come of stopping. Placed
 * between two stages it keeps what lies ready before it from being worked on.
 */
export async function* untilStopped<T>(input: AsyncIterable<T>, stop: AbortSignal | undefined): AsyncGenerator<T> {
  try {
    for await (const item of input) {
      if (stop?.aborted) return
      yield item
    }
  } catch (error) {
    if (!stop?.aborted) throw error
  }
}

export type Limiter = <T>(fn: () => Promise<T>) => Promise<T>

/** Runs at most `limit` functions at a time, first come first served. */
export function createLimiter(limit: number): Limiter {
  return pLimit(limit)
}

/** Adds up how long at least one call was running, and how much work was done, in seconds. */
export class BusyClock {
  private running = 0
  private since = 0
  private total = 0
  private work = 0

  async time<T>(fn: () => Promise<T>): Promise<T> {
    const started = performance.now()
    if (this.running++ === 0) this.since = started
    try {
      return await fn()
    } finally {
      const now = performance.now()
      this.work += now - started
      if (--this.running === 0) this.total += now - this.since
    }
  }

  /** Seconds during which at least one call was running. */
  get busySeconds(): number {
    return (this.total + (this.running > 0 ? performance.now() - this.since : 0)) / 1000
  }

  /** Seconds summed over calls. */
  get workSeconds(): number {
    return this.work / 1000
  }
}
