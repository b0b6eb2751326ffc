/** `vtp status`, `verify`, `gc` and `finalize`: what they print. */
import { setTimeout as sleep } from 'node:timers/promises'
import { EXIT } from '../../errors.js'
import { type FinishResult, finishRun } from '../../pipeline/ledger/finish.js'
import { collectGarbage, type GcResult } from '../../pipeline/ledger/gc.js'
import { type RunStatus, runStatus } from '../../pipeline/ledger/status.js'
import { type VerifyResult, verifyRun } from '../../pipeline/ledger/verify.js'
import type { CommandContext } from '../base-command.js'
import {
  formatBytes,
  formatCount,
  formatDuration,
  formatPercent,
  formatRate,
  formatTable,
  plural,
} from '../terminal/format.js'

export async function runStatusCommand(
  context: CommandContext,
  dest: string,
  watch: boolean,
  everySeconds: number,
): Promise<RunStatus> {
  for (;;) {
    const status = await runStatus(dest)
    context.terminal.print(statusLines(status))
    const over = status.finalized || (status.complete && damagedUnits(status) > 0)
    if (!watch || over) return status
    context.terminal.print([''])
    await sleep(everySeconds * 1000)
  }
}

const SHOWN_UNITS = 20

const damagedUnits = ({ damaged }: RunStatus): number => damaged?.length ?? 0

function stateOf(status: RunStatus, untouched: boolean): string {
  const lost = damagedUnits(status)
  if (lost > 0) {
    return `files of ${plural(lost, 'committed unit')} are missing or cut off (${status.damaged!.slice(0, 20).join(',')}): run \`vtp verify ${status.out} --repair\``
  }
  if (status.finalized) return 'done'
  if (status.complete) return 'all units committed; run `vtp finalize`'
  return untouched ? 'planned; no worker has started. Run `vtp encode` with the same flags' : 'in progress'
}

export function statusLines(status: RunStatus): string[] {
  const { images, imagesDone, units, unitsDone, started } = status
  const rows: string[][] = [
    ['images', `${formatCount(imagesDone)} of ${formatCount(images)} (${formatPercent(imagesDone / images)})`],
    ['units', `${formatCount(unitsDone)} of ${formatCount(units)} committed, ${formatCount(started.length)} started`],
  ]
  const untouched = unitsDone === 0 && started.length === 0 && status.imagesKept === 0 && units > 0
  if (status.rejects !== null && !untouched) rows.push(['rejects', formatCount(status.rejects)])
  if (status.imagesPerSecond !== null)
    rows.push(['speed', `${formatRate(status.imagesPerSecond, 'images/s')} over the last ten minutes, all workers`])
  if (status.etaSeconds !== null) rows.push(['left', formatDuration(status.etaSeconds)])
  if (status.seconds && Object.keys(status.seconds).length > 0) {
    const stages = Object.entries(status.seconds).map(([stage, seconds]) => `${stage} ${formatDuration(seconds)}`)
    rows.push(['work', stages.join(', ')])
  }
  if (status.imagesKept > 0) rows.push(['kept', `${plural(status.imagesKept, 'finished image')} of open units`])
  rows.push(['state', stateOf(status, untouched)])
  const lines = formatTable(rows)
  if (started.length > 0 && !status.complete) {
    lines.push('', 'Started and not committed (being encoded, or left by a worker that ended):')
    const table = started
      .slice(0, SHOWN_UNITS)
      .map(({ unit, attempts, secondsAgo }) => [
        `unit ${unit}`,
        `attempt ${attempts}`,
        secondsAgo === null ? '' : `started ${formatDuration(secondsAgo)} ago`,
      ])
    lines.push(...formatTable(table, { indent: '  ' }))
    if (started.length > SHOWN_UNITS) lines.push(`  and ${started.length - SHOWN_UNITS} more`)
  }
  return lines
}

/** The stable object of `--json`. */
export interface VerifyJson extends VerifyResult {
  exitReason: 'ok' | 'check_failed' | 'incomplete'
}

export async function runVerifyCommand(
  context: CommandContext,
  dest: string,
  { partial, repair }: { partial: boolean; repair: boolean },
): Promise<VerifyJson> {
  const result = await verifyRun(dest, { repair })
  const exitReason = result.problemCount > 0 ? 'check_failed' : result.complete || partial ? 'ok' : 'incomplete'
  if (exitReason !== 'ok') context.exitCode(EXIT.rejects)
  context.terminal.print(verifyLines(result, partial))
  return { ...result, exitReason }
}

function verifyLines(result: VerifyResult, partial: boolean): string[] {
  const lines = [
    `${plural(result.rows, 'row')} and ${plural(result.rejects, 'reject')} in ${formatCount(result.unitsDone)} of ${plural(result.units, 'unit')}; ${formatBytes(result.bytes)} in ${plural(result.files, 'file')} read again`,
    ...result.problems.map((problem) => `problem: ${problem}`),
  ]
  if (result.problemCount > result.problems.length)
    lines.push(`and ${formatCount(result.problemCount - result.problems.length)} more problems`)
  if (result.problemCount > 0) {
    const units = plural(result.damaged.length, 'unit')
    if (result.reopened) lines.push(`${units} opened again: run the same command as before, and it does them anew.`)
    else if (result.damaged.length > 0)
      lines.push(`Put the files back, or open the ${units} again with \`vtp verify ${result.out} --repair\`.`)
  } else if (!result.complete) {
    lines.push(
      `${plural(result.units - result.unitsDone, 'unit is', 'units are')} not committed yet${partial ? '' : ' (--partial accepts that)'}; what is there is right.`,
    )
  } else {
    lines.push('Everything is as the commits say: checksums, rows, order; every key once.')
    if (!result.finalized) lines.push('There is no manifest yet: run `vtp finalize`.')
  }
  return lines
}

export async function runGcCommand(
  context: CommandContext,
  dest: string,
  olderThanMs: number,
  dryRun: boolean,
): Promise<GcResult> {
  const result = await collectGarbage(dest, { olderThanMs, dryRun })
  context.terminal.print([
    ...result.removed.map((name) => `${dryRun ? 'would remove' : 'removed'} ${name}`),
    result.attempts + result.files + result.uploads === 0
      ? 'There is nothing to remove.'
      : `${dryRun ? 'Would remove' : 'Removed'} ${plural(result.attempts, 'attempt marker')}, ${plural(result.files, 'file')} (${formatBytes(result.bytes)}), ${plural(result.uploads, 'unfinished upload')}.`,
  ])
  return result
}

/** The stable object of `--json`. */
export interface FinalizeJson extends FinishResult {
  exitReason: 'ok' | 'incomplete'
}

export async function runFinalizeCommand(context: CommandContext, dest: string): Promise<FinalizeJson> {
  const { finalizeGenerateRun } = await import('../../generate/finish.js')
  const result = await finishRun(dest, { generate: finalizeGenerateRun })
  if (!result.complete) context.exitCode(EXIT.rejects)
  const { totals, missing, missingCount } = result
  context.terminal.print([
    totals
      ? `${plural(totals.rows, 'row')}, ${plural(totals.rejects, 'reject')}, ${formatBytes(totals.bytes)}: the manifest is written.`
      : `${plural(missingCount, 'unit is', 'units are')} not committed: ${missing.slice(0, 20).join(',')}${missingCount > 20 ? ',…' : ''}. Run \`vtp ${result.kind}\` again to finish ${missingCount === 1 ? 'it' : 'them'}.`,
  ])
  return { ...result, exitReason: result.complete ? 'ok' : 'incomplete' }
}
