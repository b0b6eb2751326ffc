/** A limit on what the work that runs at once holds together, in bytes. */

export type ByteLimiter = <T>(bytes: number, work: () => Promise<T>) => Promise<T>

/** Work begins in the order it comes, when there is room for it; what is larger than all the room runs alone. */
export function createByteLimiter(maxBytes: number): ByteLimiter {
  let held = 0
  const waiting: { bytes: number; begin(): void }[] = []
  const beginNext = (): void => {
    for (let next = waiting[0]; next && (held === 0 || held + next.bytes <= maxBytes); next = waiting[0]) {
      waiting.shift()
      held += next.bytes
      next.begin()
    }
  }
  return async (bytes, work) => {
    await new Promise<void>((begin) => {
      waiting.push({ bytes, begin })
      beginNext()
    })
    try {
      return await work()
    } finally {
      held -= bytes
      beginNext()
    }
  }
}
