import type { LatentsStats } from '../../pipeline/ledger/stats.js'

/** One line per channel. */
export function formatStats({ rows, mean, std, fromCommits }: LatentsStats): string {
  const lines = mean.map(
    (m, c) => `${String(c).padStart(7)}  ${m.toFixed(6).padStart(10)}  ${std[c]!.toFixed(6).padStart(9)}`,
  )
  const from = fromCommits ? 'from commits' : 'read from the shards'
  return `${rows} rows, ${from}\nchannel        mean        std\n${lines.join('\n')}\n`
}
