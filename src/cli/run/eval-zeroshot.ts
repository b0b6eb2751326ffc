/** `vtp eval-zeroshot` between its flags and the evaluation. */

import type { StateOptions } from '../../metrics/pass/state.js'
import { evaluateZeroshot, type ZeroshotResult } from '../../metrics/zeroshot/evaluate.js'
import { defaultCacheDir } from '../../model/index.js'
import type { CommandContext } from '../base-command.js'
import type { FlagValues } from '../flags/declare.js'
import type { EVAL_ZEROSHOT_FLAGS } from '../flags/eval-flags.js'
import { fieldNames } from '../flags/source-flags.js'
import { formatDuration, formatTable, plural } from '../terminal/format.js'
import { endEvaluation, openEvalContext, writeJsonFile } from './eval-context.js'
import type { ExitReason } from './exit-reason.js'

export interface ZeroshotFlags extends FlagValues<typeof EVAL_ZEROSHOT_FLAGS> {
  source: string
  /** Folder for what a later run continues from; the cache otherwise. */
  stateDir?: string
  /** As in `StateOptions`. */
  kept?: StateOptions['kept']
}

/** The stable object of `--json`. */
export interface ZeroshotJson extends Omit<ZeroshotResult, 'rejects'> {
  rejects: number
  seconds: number
  exitReason: ExitReason
}

const WORST = 10

export async function runEvalZeroshot(context: CommandContext, flags: ZeroshotFlags): Promise<ZeroshotJson> {
  const began = performance.now()
  const run = openEvalContext(context, flags)
  try {
    const result = await evaluateZeroshot({
      source: flags.source,
      model: flags.model,
      cacheDir: defaultCacheDir(),
      classnames: flags.classnames,
      templates: flags.templates,
      transform: flags.transform,
      precision: run.device.precision,
      device: run.device,
      batchSize: flags['batch-size'] ?? run.device.batchSize,
      limit: flags.limit,
      fields: fieldNames(flags),
      maxPixels: flags['max-pixels'],
      stateDir: flags.stateDir,
      checkpointSeconds: flags['checkpoint-seconds'],
      kept: flags.kept,
      stdin: process.stdin,
      stop: run.stop.signal,
      onNote: run.progress.note,
      onImages: run.show,
    })
    const seconds = Number(((performance.now() - began) / 1000).toFixed(3))
    const outcome = { ...result, rejects: result.rejects.length }
    const exitReason = endEvaluation(context, outcome, result.rejects, flags['max-bad'])
    const json = { ...outcome, seconds, exitReason }
    if (result.interrupted) return json
    if (flags.out !== undefined) await writeJsonFile(flags.out, json)
    run.progress.finish(describe(result, seconds))
    return json
  } finally {
    run.close()
  }
}

function describe(result: ZeroshotResult, seconds: number): string[] {
  const worst = [...result.classes].sort((a, b) => a.top1 - b.top1 || b.images - a.images).slice(0, WORST)
  const percent = (value: number): string => `${value.toFixed(1)} %`
  return [
    ...formatTable([
      ['top-1', `${result.top1.toFixed(3)} %`],
      ['top-5', `${result.top5.toFixed(3)} %`],
    ]),
    '',
    'Classes with the lowest top-1:',
    ...formatTable(
      worst.map((c) => [c.name, percent(c.top1), percent(c.top5), plural(c.images, 'image')]),
      { indent: '  ', right: [1, 2, 3] },
    ),
    ...(result.confusions.length > 0 ? ['', 'Most frequent mistakes:'] : []),
    ...formatTable(
      result.confusions.slice(0, WORST).map((c) => [`${c.label} taken for ${c.takenFor}`, String(c.images)]),
      { indent: '  ', right: [1] },
    ),
    '',
    `protocol: ${result.protocol}`,
    `${plural(result.images, 'image')} · ${formatDuration(seconds)}`,
  ]
}
