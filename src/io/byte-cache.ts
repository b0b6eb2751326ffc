/** Values by key that are kept while they fit into a number of bytes; those used longest ago go first. */

export interface Sized<T> {
  value: T
  bytes: number
}

export interface ByteCache {
  /**
   * The kept value, or a new one, which all who ask meanwhile share. `reserve` makes room for so many bytes before
   * they are taken: what is made next must not stand beside what goes.
   */
  get<T>(key: string, make: (reserve: (bytes: number) => void) => Promise<Sized<T>>): Promise<T>
  /** Keeps a value that is there; another one of this key is dropped. */
  put(key: string, bytes: number, value: unknown): void
  /** What `put` kept. Does not count as use. */
  peek<T>(key: string): T | undefined
  clear(): void
}

interface Entry {
  value: unknown
  bytes: number
  /** Whether it is being made: it stays then, as it takes its memory anyway. */
  pending?: boolean
}

/** The newest value is kept even where it alone is larger than the limit. */
export function createByteCache(limitBytes: number): ByteCache {
  // A Map iterates in the order of insertion.
  const entries = new Map<string, Entry>()
  let total = 0
  const drop = (key: string): void => {
    total -= entries.get(key)?.bytes ?? 0
    entries.delete(key)
  }
  /** Puts an entry behind all others, and makes room for it. */
  const add = (key: string, entry: Entry): void => {
    drop(key)
    entries.set(key, entry)
    total += entry.bytes
    for (const [other, { pending }] of entries) {
      if (total <= limitBytes) return
      if (!pending && other !== key) drop(other)
    }
  }
  return {
    get<T>(key: string, make: (reserve: (bytes: number) => void) => Promise<Sized<T>>): Promise<T> {
      const found = entries.get(key)
      if (found) {
        add(key, found)
        return found.value as Promise<T>
      }
      const entry: Entry = { value: undefined, bytes: 0, pending: true }
      add(key, entry)
      const value = make((bytes) => {
        if (entries.get(key) !== entry) return
        total += bytes - entry.bytes
        entry.bytes = bytes
        add(key, entry)
      }).then(
        (made) => {
          if (entries.get(key) === entry) add(key, { value, bytes: made.bytes })
          return made.value
        },
        (error: unknown) => {
          if (entries.get(key) === entry) drop(key)
          throw error
        },
      )
      entry.value = value
      return value
    },
    put: (key, bytes, value) => add(key, { value, bytes }),
    peek: <T>(key: string) => entries.get(key)?.value as T | undefined,
    clear() {
      entries.clear()
      total = 0
    },
  }
}
