import type { LatentsStats } from '../../pipeline/ledger/stats.js'
import { plural } from './format.js'

/** One line per channel. */
export function formatStats({ rows, mean, std, fromCommits }: LatentsStats): string[] {
  const lines = mean.map(
    (m, c) => `${String(c).padStart(7)}  ${m.toFixed(6).padStart(10)}  ${std[c]!.toFixed(6).padStart(9)}`,
  )
  const from = fromCommits ? 'from commits' : 'read from the shards'
  return [`${plural(rows, 'row')}, ${from}`, 'channel        mean        std', ...lines]
}
