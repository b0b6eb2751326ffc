/** Seeded random numbers that are the same on every machine: sfc32 (PractRand), seeded by splitmix32. */

export interface Random {
  /** Uniform in 0 ≤ x < 1, 32 bits. */
  next(): number
  /** A whole number below `limit`, without bias. */
  below(limit: number): number
  /** Standard normal, by Box and Muller. */
  normal(): number
  /** Continues exactly where another generator stood. */
  readonly state: number[]
}

export function createRandom(seed: number | number[]): Random {
  let [a, b, c, d] = typeof seed === 'number' ? expand(seed) : (seed as [number, number, number, number])
  const bits = (): number => {
    const sum = (a + b + d) | 0
    d = (d + 1) | 0
    a = b ^ (b >>> 9)
    b = (c + (c << 3)) | 0
    c = (c << 21) | (c >>> 11)
    c = (c + sum) | 0
    return sum >>> 0
  }
  if (typeof seed === 'number') for (let i = 0; i < 12; i++) bits()
  const next = (): number => bits() / 2 ** 32
  return {
    next,
    below(limit) {
      const end = 2 ** 32 - (2 ** 32 % limit)
      for (;;) {
        const value = bits()
        if (value < end) return value % limit
      }
    },
    normal: () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()),
    get state() {
      return [a, b, c, d]
    },
  }
}

function expand(seed: number): [number, number, number, number] {
  let h = seed | 0
  const word = (): number => {
    h = (h + 0x9e3779b9) | 0
    let t = h ^ (h >>> 16)
    t = Math.imul(t, 0x21f0aaad)
    t ^= t >>> 15
    t = Math.imul(t, 0x735a2d97)
    return t ^ (t >>> 15)
  }
  return [word(), word(), word(), word()]
}

/** `count` of the numbers 0 … total−1, each at most once, in random order (Floyd; then shuffled). */
export function sampleIndices(total: number, count: number, random: Random): number[] {
  const chosen = new Set<number>()
  for (let j = total - Math.min(count, total); j < total; j++) {
    const t = random.below(j + 1)
    chosen.add(chosen.has(t) ? j : t)
  }
  return shuffle([...chosen], random)
}

export function shuffle<T extends { [index: number]: unknown; length: number }>(values: T, random: Random): T {
  for (let i = values.length - 1; i > 0; i--) {
    const j = random.below(i + 1)
    const held = values[i]
    values[i] = values[j]
    values[j] = held
  }
  return values
}
