/**
 * One pacer per process stands before all requests to object storage: it bounds how many run at once, and
 * adapts the bound to what the service bears (additive increase, multiplicative decrease, as TCP does).
 */
import pLimit from 'p-limit'

export interface Pacer {
  /** Runs `fn` when there is room for it. */
  run<T>(fn: () => Promise<T>): Promise<T>
  /** The service asked to slow down. */
  slowDown(): void
  /** A request went well. */
  succeeded(): void
  /** Requests that may run at once now. */
  readonly limit: number
}

export interface PacerOptions {
  initial: number
  max: number
  /** Milliseconds; for tests. */
  now?: () => number
}

/** Several refusals within this time are one: they come from requests that were sent together. */
const ONE_EVENT_MS = 250

export function createPacer({ initial, max, now = performance.now.bind(performance) }: PacerOptions): Pacer {
  let limit = initial
  let lastCutAt = Number.NEGATIVE_INFINITY
  const gate = pLimit(initial)
  const setLimit = (value: number): void => {
    limit = value
    const whole = Math.max(1, Math.floor(limit))
    if (gate.concurrency !== whole) gate.concurrency = whole
  }
  return {
    run: (fn) => gate(fn),
    slowDown() {
      const time = now()
      if (time - lastCutAt < ONE_EVENT_MS) return
      lastCutAt = time
      setLimit(Math.max(1, limit / 2))
    },
    succeeded() {
      setLimit(Math.min(max, limit + 1 / limit))
    },
    get limit() {
      return limit
    },
  }
}
