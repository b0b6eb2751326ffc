/** `vtp dedup` between its flags and the index. */
import { once } from 'node:events'
import { effectiveCores } from '../../engine/cores.js'
import { type DuplicateGroup, findDuplicates } from '../../retrieval/duplicates.js'
import { isListable, listLine, rowsToRemove } from '../../retrieval/keep-lists.js'
import { type OpenIndex, openIndex } from '../../retrieval/open-index.js'
import type { CommandContext } from '../base-command.js'
import type { FlagValues } from '../flags/declare.js'
import type { DEDUP_FLAGS } from '../flags/retrieval-flags.js'
import { jsonText } from '../terminal/clean.js'
import { formatCount, formatDuration, formatPercent, plural } from '../terminal/format.js'
import { onStopSignals } from '../terminal/signals.js'
import { type ExitReason, endWith } from './exit-reason.js'
import { type Output, openOutput } from './output-file.js'

const LIST_BLOCK = 4096

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
  /** Rows that go if one of each group stays. */
  duplicates: number
  /** Rows of the written lists that no list can name, because they lie inside archives or tables. */
  unlistable: number
  seconds: number
  interrupted: boolean
  exitReason: ExitReason
}

export async function runDedupCommand(context: CommandContext, flags: DedupFlags): Promise<DedupJson> {
  const { threshold } = flags
  const progress = context.terminal
  const stop = onStopSignals(progress.note)
  const index = await openIndex(flags.index, { threads: effectiveCores() })
  const began = performance.now()
  const outputs: Output[] = []
  const open = async (flag: 'out' | 'keep-list' | 'remove-list'): Promise<Output | undefined> => {
    const file = flags[flag]
    if (file === undefined) return undefined
    const output = await openOutput(file, `--${flag}`)
    outputs.push(output)
    return output
  }
  try {
    const out = await open('out')
    const keep = await open('keep-list')
    const remove = await open('remove-list')
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
    const interrupted = stop.signal.aborted
    // Half a comparison says nothing of what may go.
    const unlistable = interrupted || !(keep ?? remove) ? 0 : await writeLists(index, found, flags, { keep, remove })
    if (unlistable > 0)
      progress.note(
        `${plural(unlistable, 'row')} of the lists cannot be read by vtp encode: these images lie inside tar or table files. Go by their keys.`,
      )
    if (!out && !keep && !remove) {
      for (const { score, rows } of groups)
        progress.print([score.toFixed(4), ...rows.map((row) => `  ${row.uri || row.key}`), ''])
    }
    const total = index.manifest.rows
    const are = duplicates === 1 ? 'is a near-duplicate' : 'are near-duplicates'
    progress.finish([
      `${plural(groups.length, 'group')}, ${formatCount(duplicates)} of ${formatCount(total)} rows ${are} of another (similarity ≥ ${threshold}) · ${formatDuration(seconds)}`,
      ...endLines(flags, interrupted, total - duplicates, duplicates),
    ])
    const exitReason = endWith(context, interrupted ? 'interrupted' : 'done')
    const { rows } = index.manifest
    return {
      ...{ index: flags.index, rows, threshold, groups, duplicates, unlistable },
      seconds: Number(seconds.toFixed(3)),
      interrupted,
      exitReason,
    }
  } finally {
    for (const output of outputs) await output.abort()
    stop.release()
    progress.close()
    await index.close()
  }
}

/** What was written, or why it was not. */
function endLines(flags: DedupFlags, interrupted: boolean, kept: number, removed: number): string[] {
  const { 'keep-list': keep, 'remove-list': remove } = flags
  if (interrupted) {
    const lists = (keep ?? remove) ? ', and no list is written' : ''
    return [`Interrupted (exit code 4): the groups are those of the rows that were compared${lists}.`]
  }
  return [
    ...(keep === undefined ? [] : [`${plural(kept, 'image')} to keep in ${keep}`]),
    ...(remove === undefined ? [] : [`${plural(removed, 'image')} to remove in ${remove}`]),
  ]
}

/** Writes the lists that are asked for; returns how many of their rows no list can name. */
async function writeLists(
  index: OpenIndex,
  groups: readonly DuplicateGroup[],
  flags: DedupFlags,
  { keep, remove }: { keep?: Output; remove?: Output },
): Promise<number> {
  const { classes } = index.manifest
  const going = await rowsToRemove(index, groups)
  let unlistable = 0
  for await (const { first, rows } of index.reader.scan(LIST_BLOCK)) {
    for (const [i, row] of rows.entries()) {
      const goes = going.has(first + i)
      const output = goes ? remove : keep
      if (!output) continue
      if (!isListable(row)) unlistable++
      const line = listLine(flags[goes ? 'remove-list' : 'keep-list']!, row, classes)
      if (!output.stream.write(line)) await once(output.stream, 'drain')
    }
  }
  await keep?.finish()
  await remove?.finish()
  return unlistable
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
