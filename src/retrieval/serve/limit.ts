/** A bound on how many tasks run at once, with a short queue. */

export interface Limit {
  /** Starts the task in its turn; undefined when too many wait already. */
  run<T>(task: () => Promise<T>): Promise<T> | undefined
}

export function createLimit(atOnce: number, waiting: number): Limit {
  let running = 0
  const queue: (() => void)[] = []
  return {
    run(task) {
      if (running >= atOnce && queue.length >= waiting) return undefined
      const turn = running < atOnce ? Promise.resolve() : new Promise<void>((resolve) => queue.push(resolve))
      if (running < atOnce) running++
      return turn.then(task).finally(() => {
        // The next one takes this one's place.
        const next = queue.shift()
        if (next) next()
        else running--
      })
    },
  }
}
