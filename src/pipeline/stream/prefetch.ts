/**
 * Reads ahead as far as it has to, and no further: the depth grows when the consumer had to wait although
 * everything allowed was in flight, and shrinks again when all of it lies ready. A store with a round trip
 * of 200 ms then keeps an encoder as busy as a local disk. Results keep their order; what is held is
 * bounded by `max` items and by `maxBytes`: room for an item is taken before it is fetched, by its known size or
 * the mean of those before it.
 */

export interface PrefetchOptions<In, Out> {
  /** Items in flight or ready: at first, and at most. */
  min: number
  max: number
  maxBytes: number
  sizeOf(item: Out): number
  /** The size of an item before it is fetched, where it is known. */
  expectedSize?(item: In): number | undefined
  /** Told how long the consumer had to wait. */
  onStarved?: (seconds: number) => void
  /** Milliseconds; for tests. */
  now?: () => number
}

/** Waits shorter than this are scheduling, not starvation. */
const NOTICEABLE_MS = 2
/** Items taken without a wait after which the depth shrinks by one. */
const CALM_ITEMS = 64

export async function* prefetch<In, Out>(
  input: AsyncIterable<In>,
  fetch: (item: In) => Promise<Out>,
  options: PrefetchOptions<In, Out>,
): AsyncGenerator<Out, void, undefined> {
  const { min, max, maxBytes, sizeOf, expectedSize, onStarved, now = performance.now.bind(performance) } = options
  const iterator = input[Symbol.asyncIterator]()
  const queue: Promise<Out>[] = []
  let depth = min
  let ready = 0
  let heldBytes = 0
  let calm = 0
  /** Of the items fetched so far. */
  let fetched = { items: 0, bytes: 0 }
  let peeked: { value: In; bytes: number } | undefined
  let ended = false
  let stopped = false
  let failure: { error: unknown } | undefined
  let wakePump = (): void => {}
  let wakeConsumer = (): void => {}

  const pump = async (): Promise<void> => {
    try {
      while (!stopped) {
        if (queue.length >= depth || (queue.length > 0 && heldBytes + (peeked?.bytes ?? 0) > maxBytes)) {
          await new Promise<void>((resolve) => {
            wakePump = resolve
          })
          continue
        }
        if (!peeked) {
          const next = await iterator.next()
          if (next.done) break
          const mean = fetched.items > 0 ? fetched.bytes / fetched.items : 0
          peeked = { value: next.value, bytes: expectedSize?.(next.value) ?? mean }
          continue
        }
        const { value, bytes } = peeked
        peeked = undefined
        heldBytes += bytes
        const running = fetch(value).then((item) => {
          ready++
          heldBytes += sizeOf(item) - bytes
          fetched = { items: fetched.items + 1, bytes: fetched.bytes + sizeOf(item) }
          return item
        })
        running.catch(() => {}) // reported when its turn comes
        queue.push(running)
        wakeConsumer()
      }
    } catch (error) {
      failure = { error }
    }
    ended = true
    wakeConsumer()
  }
  const pumping = pump()
  try {
    for (;;) {
      const began = now()
      const allReady = ready === queue.length
      while (queue.length === 0 && !ended) {
        await new Promise<void>((resolve) => {
          wakeConsumer = resolve
        })
      }
      const head = queue[0]
      if (head === undefined) {
        if (failure) throw failure.error
        return
      }
      const item = await head
      const waitedMs = now() - began
      if (waitedMs > NOTICEABLE_MS) {
        onStarved?.(waitedMs / 1000)
        calm = 0
        // Everything allowed was in flight, and it was not enough.
        if (queue.length >= depth) depth = Math.min(max, Math.ceil(depth * 1.5))
      } else if (allReady && ++calm >= CALM_ITEMS) {
        calm = 0
        depth = Math.max(min, depth - 1)
      }
      queue.shift()
      ready--
      heldBytes -= sizeOf(item)
      wakePump()
      yield item
    }
  } finally {
    stopped = true
    wakePump()
    await pumping
    await Promise.allSettled(queue)
    await iterator.return?.()
  }
}
