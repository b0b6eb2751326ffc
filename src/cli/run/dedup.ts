/** `vtp dedup` between its flags and the index. */
import { effectiveCores } from '../../engine/cores.js'
import { EXIT } from '../../errors.js'
import { type DuplicateGroup, findDuplicates } from '../../retrieval/duplicates.js'
import { type OpenIndex, openIndex } from '../../retrieval/open-index.js'
import type { CommandContext } from '../base-command.js'
import type { FlagValues } from '../flags/declare.js'
import type { DEDUP_FLAGS } from '../flags/retrieval-flags.js'
import { jsonText } from '../terminal/clean.js'
import { formatCount, formatDuration, formatPercent, plural } from '../terminal/format.js'
import { onStopSignals } from '../terminal/signals.js'
import { type Output, openOutput } from './output-file.js'

export type DedupFlags = FlagValues<typeof DEDUP_FLAGS> & { index: string }

export interface GroupJson {
  /** The least similar pair that links the group. */
  score: number
  rows: { row: number; key: string; uri: string }[]
}

/** The stable object of `--json`. */
export interface DedupJson {
  index: string
  rows: number
  threshold: number
  groups: GroupJson[]
  /** Rows that would go if one of each group stayed. */
  duplicates: number
  seconds: number
  interrupted: boolean
}

export async function runDedupCommand(context: CommandContext, flags: DedupFlags): Promise<DedupJson> {
  const { threshold } = flags
  const progress = context.terminal
  const stop = onStopSignals(progress.note)
  const index = await openIndex(flags.index, { threads: effectiveCores() })
  const began = performance.now()
  let out: Output | undefined
  try {
    if (flags.out !== undefined) out = await openOutput(flags.out)
    const found = await findDuplicates(index, {
      threshold,
      exact: flags.exact,
      stop: stop.signal,
      onProgress: (done, total) =>
        progress.status(`${formatPercent(done / total)} of ${formatCount(total)} rows compared`),
    })
    const groups = await describeGroups(index, found)
    const duplicates = groups.reduce((sum, group) => sum + group.rows.length - 1, 0)
    const seconds = (performance.now() - began) / 1000
    if (out) {
      for (const group of groups) out.stream.write(`${jsonText(group)}\n`)
      await out.finish()
    }
    if (!out) {
      for (const { score, rows } of groups)
        progress.print([score.toFixed(4), ...rows.map((row) => `  ${row.uri || row.key}`), ''])
    }
    progress.finish([
      `${plural(groups.length, 'group')}, ${formatCount(duplicates)} of ${formatCount(index.manifest.rows)} rows are near-duplicates of another (similarity ≥ ${threshold}) · ${formatDuration(seconds)}`,
    ])
    const interrupted = stop.signal.aborted
    if (interrupted) context.exitCode(EXIT.interrupted)
    const { rows } = index.manifest
    return { index: flags.index, rows, threshold, groups, duplicates, seconds: Number(seconds.toFixed(3)), interrupted }
  } finally {
    await out?.abort()
    stop.release()
    progress.close()
    await index.close()
  }
}

async function describeGroups(index: OpenIndex, groups: DuplicateGroup[]): Promise<GroupJson[]> {
  const out: GroupJson[] = []
  for (const { rows: ids, score } of groups) {
    const rows = await index.reader.rows(ids)
    out.push({
      score: Number(score.toFixed(6)),
      rows: rows.map(({ key, uri }, i) => ({ row: ids[i]!, key, uri })),
    })
  }
  return out
}
