/**
 * Tells whether a key was seen before, for listings of any length: 53-bit hashes in an open-addressing
 * table (8 bytes per slot, at most half full), so ten million keys take 256 MiB at most. Two different keys
 * of ten million collide with a probability of about one in a hundred; a collision only renames a key.
 */
export interface SeenKeys {
  /** True the first time. */
  add(key: string): boolean
}

/** FNV-1a in two 32-bit lanes, folded to 53 bits; never 0. */
function hash53(key: string): number {
  let a = 0x811c9dc5
  let b = 0x9dc5811c
  for (let i = 0; i < key.length; i++) {
    const c = key.charCodeAt(i)
    a = Math.imul(a ^ c, 0x01000193)
    b = Math.imul(b ^ (c + i), 0x85ebca6b)
  }
  return (a >>> 0) * 2 ** 21 + ((b >>> 0) & 0x1fffff) || 1
}

export function createSeenKeys(): SeenKeys {
  let slots = new Float64Array(1 << 12)
  let count = 0
  const insert = (table: Float64Array, hash: number): boolean => {
    let at = hash % table.length
    for (;;) {
      const there = table[at]!
      if (there === hash) return false
      if (there === 0) {
        table[at] = hash
        return true
      }
      at = (at + 1) % table.length
    }
  }
  return {
    add(key) {
      if (!insert(slots, hash53(key))) return false
      if (++count * 2 > slots.length) {
        const larger = new Float64Array(slots.length * 2)
        for (const hash of slots) if (hash !== 0) insert(larger, hash)
        slots = larger
      }
      return true
    },
  }
}
