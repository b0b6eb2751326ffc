/** A map that keeps the entries used last, up to a number of them. */

export interface Recent<K, V> {
  /** Counts as use. */
  get(key: K): V | undefined
  set(key: K, value: V): void
  delete(key: K): void
}

export function createRecent<K, V>(limit: number): Recent<K, V> {
  // A Map iterates in the order of insertion: the entry used longest ago comes first.
  const entries = new Map<K, V>()
  const put = (key: K, value: V): void => {
    entries.delete(key)
    entries.set(key, value)
  }
  return {
    get(key) {
      const value = entries.get(key)
      if (value !== undefined) put(key, value)
      return value
    },
    set(key, value) {
      put(key, value)
      if (entries.size > limit) entries.delete(entries.keys().next().value as K)
    },
    delete: (key) => void entries.delete(key),
  }
}
