/**
 * The two building blocks of the pipeline: an ordered map over an async iterable with a bounded number
 * of calls in flight (back-pressure is the only flow control), and a limiter for work inside a stage.
 */

/**
 * Applies `fn` to every item with at most `depth` results outstanding (running, or finished and not yet
 * taken) and yields the results in input order. The first error ends the iteration; calls still in
 * flight are awaited before it does, so that no work outlives the stage.
 */
export async function* mapOrdered<In, Out>(
  input: AsyncIterable<In> | Iterable<In>,
  depth: number,
  fn: (item: In) => Promise<Out>,
): AsyncGenerator<Out, void, undefined> {
  const queue: Promise<Out>[] = []
  const iterator = Symbol.asyncIterator in input ? input[Symbol.asyncIterator]() : input[Symbol.iterator]()
  let ended = false
  try {
    for (;;) {
      while (!ended && queue.length < depth) {
        const next = await iterator.next()
        if (next.done) {
          ended = true
          break
        }
        const running = fn(next.value)
        running.catch(() => {}) // reported when its turn comes
        queue.push(running)
      }
      const head = queue[0]
      if (head === undefined) return
      const result = await head
      queue.shift()
      yield result
    }
  } finally {
    await Promise.allSettled(queue)
    await iterator.return?.()
  }
}

export type Limiter = <T>(fn: () => Promise<T>) => Promise<T>

/** Runs at most `limit` functions at a time, first come first served. */
export function createLimiter(limit: number): Limiter {
  let active = 0
  const waiting: (() => void)[] = []
  return async (fn) => {
    if (active >= limit) await new Promise<void>((resolve) => waiting.push(resolve))
    else active++
    try {
      return await fn()
    } finally {
      // The place goes to the next in line, or is freed.
      const next = waiting.shift()
      if (next) next()
      else active--
    }
  }
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
