/** An ordered map over an async iterable with a bounded number of calls in flight: back-pressure and read-ahead in one. */

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
