/** Distributions of per-image scores, and the images at their ends, from a stream of rows. */

import { createRandom } from '../../math/random.js'
import type { ListingEntry } from '../../types.js'
import { isReject, type Pass } from '../pass/pass.js'
import type { ReconRow } from './rows.js'

export const SCORES = ['psnr', 'ssim', 'lpips'] as const
export type Score = (typeof SCORES)[number]

export interface ScoredEntry {
  entry: ListingEntry
  scores: Partial<Record<Score, number>>
}

export interface Histogram {
  low: number
  high: number
  bins: number[]
  mean: number
  /** From sorted bins, so to a bin's width. */
  median: number
}

export interface Distribution {
  histograms: Partial<Record<Score, Histogram>>
  /** The score that ranks images: LPIPS where it is there, else SSIM, else PSNR. */
  rankedBy: Score
  worst: ScoredEntry[]
  best: ScoredEntry[]
  /** Drawn at random by the seed (reservoir sampling), in the listing's order. */
  sample: ScoredEntry[]
}

const BINS = 40

export async function describeDistribution(
  pass: Pick<Pass<ReconRow>, 'rows'>,
  options: { ends: number; sample: number; seed: number },
): Promise<Distribution | undefined> {
  const ranges = new Map<Score, { low: number; high: number; sum: number; count: number }>()
  const each = async (visit: (row: ScoredEntry, index: number) => void): Promise<void> => {
    let index = 0
    for await (const row of pass.rows()) {
      if (isReject(row)) continue
      const scores: ScoredEntry['scores'] = {}
      for (const name of SCORES) if (typeof row[name] === 'number') scores[name] = row[name]
      visit({ entry: row.entry, scores }, index++)
    }
  }
  await each(({ scores }) => {
    for (const name of SCORES) {
      const value = scores[name]
      if (value === undefined) continue
      const range = ranges.get(name) ?? { low: value, high: value, sum: 0, count: 0 }
      ranges.set(name, {
        low: Math.min(range.low, value),
        high: Math.max(range.high, value),
        sum: range.sum + value,
        count: range.count + 1,
      })
    }
  })
  const rankedBy = (['lpips', 'ssim', 'psnr'] as const).find((name) => ranges.has(name))
  if (!rankedBy) return undefined
  const histograms: Distribution['histograms'] = {}
  for (const [name, { low, high, sum, count }] of ranges)
    histograms[name] = { low, high, bins: new Array<number>(BINS).fill(0), mean: sum / count, median: 0 }
  // Higher is better for PSNR and SSIM, lower for LPIPS.
  const badness = ({ scores }: ScoredEntry): number => (rankedBy === 'lpips' ? 1 : -1) * (scores[rankedBy] ?? 0)
  const worst: ScoredEntry[] = []
  const best: ScoredEntry[] = []
  const sample: { row: ScoredEntry; index: number }[] = []
  const random = createRandom(options.seed)
  await each((row, index) => {
    for (const name of SCORES) {
      const value = row.scores[name]
      const h = histograms[name]
      if (value === undefined || !h) continue
      const bin = h.high > h.low ? Math.floor(((value - h.low) / (h.high - h.low)) * BINS) : 0
      h.bins[Math.min(BINS - 1, bin)]! += 1
    }
    if (row.scores[rankedBy] !== undefined) {
      insert(worst, row, options.ends, (a, b) => badness(b) - badness(a))
      insert(best, row, options.ends, (a, b) => badness(a) - badness(b))
    }
    if (sample.length < options.sample) sample.push({ row, index })
    else {
      const at = random.below(index + 1)
      if (at < options.sample) sample[at] = { row, index }
    }
  })
  for (const h of Object.values(histograms)) h.median = medianOf(h)
  sample.sort((a, b) => a.index - b.index)
  return { histograms, rankedBy, worst, best, sample: sample.map(({ row }) => row) }
}

function insert(
  list: ScoredEntry[],
  row: ScoredEntry,
  size: number,
  order: (a: ScoredEntry, b: ScoredEntry) => number,
): void {
  if (list.length === size && order(row, list.at(-1)!) >= 0) return
  list.push(row)
  list.sort(order)
  if (list.length > size) list.pop()
}

function medianOf({ low, high, bins }: Histogram): number {
  const half = bins.reduce((a, b) => a + b, 0) / 2
  let seen = 0
  for (const [i, count] of bins.entries()) {
    if (seen + count >= half && count > 0) return low + ((high - low) * (i + (half - seen) / count)) / bins.length
    seen += count
  }
  return high
}
