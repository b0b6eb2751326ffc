/** Percentiles of the last searches. */
const KEEP = 1000

export interface LatencySummary {
  /** Searches so far. */
  count: number
  /** Milliseconds; null before the first search. */
  p50: number | null
  p95: number | null
}

export function createLatency(): { add(milliseconds: number): void; summary(): LatencySummary } {
  const last: number[] = []
  let count = 0
  return {
    add(milliseconds) {
      last[count++ % KEEP] = milliseconds
    },
    summary() {
      const sorted = [...last].sort((a, b) => a - b)
      const at = (share: number): number | null =>
        sorted.length === 0 ? null : Number(sorted[Math.ceil(share * sorted.length) - 1]!.toFixed(2))
      return { count, p50: at(0.5), p95: at(0.95) }
    },
  }
}
