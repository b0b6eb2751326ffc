/**
 * "Did you mean …?" for names that a person typed: flags, commands, keys of a configuration file.
 * Distance is optimal string alignment (Levenshtein with swaps of neighbours).
 */

/** The number of insertions, deletions, replacements and swaps of neighbours from `a` to `b`. */
export function editDistance(a: string, b: string): number {
  const width = b.length + 1
  let before = new Uint16Array(width)
  let previous = Uint16Array.from({ length: width }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const current = new Uint16Array(width)
    current[0] = i
    for (let j = 1; j < width; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1
      let best = Math.min(previous[j]! + 1, current[j - 1]! + 1, previous[j - 1]! + cost)
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) best = Math.min(best, before[j - 2]! + 1)
      current[j] = best
    }
    before = previous
    previous = current
  }
  return previous[b.length]!
}

/** How far `candidate` is from what was typed; a long common beginning counts as near (`--shard` for `--shard-rows`). */
function nearness(typed: string, candidate: string): number {
  const distance = editDistance(typed, candidate)
  const isPrefix = typed.length >= 3 && candidate.startsWith(typed)
  return isPrefix ? Math.min(distance, 1.5) : distance
}

/** The candidate that was most likely meant, or undefined when none is near. Case does not count. */
export function didYouMean(typed: string, candidates: Iterable<string>): string | undefined {
  const lower = typed.toLowerCase()
  // One mistake in a short name, about one per three letters in a long one.
  let limit = Math.max(1, Math.floor(typed.length / 3)) + 0.5
  let best: string | undefined
  for (const candidate of candidates) {
    const distance = nearness(lower, candidate.toLowerCase())
    if (distance < limit || (best === undefined && distance <= limit)) {
      limit = distance
      best = candidate
    }
  }
  return best
}
