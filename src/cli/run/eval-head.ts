/** `vtp eval-head` between its flags and the evaluation. */
import { evaluateHead, type HeadResult } from '../../metrics/head/evaluate.js'
import type { StateOptions } from '../../metrics/pass/state.js'
import { defaultCacheDir } from '../../model/index.js'
import type { CommandContext } from '../base-command.js'
import type { FlagValues } from '../flags/declare.js'
import type { EVAL_HEAD_FLAGS } from '../flags/eval-flags.js'
import { fieldNames } from '../flags/source-flags.js'
import { formatDuration, formatTable, plural } from '../terminal/format.js'
import { endEvaluation, openEvalContext, writeJsonFile } from './eval-context.js'
import type { ExitReason } from './exit-reason.js'

export interface HeadFlags extends FlagValues<typeof EVAL_HEAD_FLAGS> {
  source: string
  /** As in `StateOptions`. */
  kept?: StateOptions['kept']
}

/** The stable object of `--json`. */
export interface HeadJson extends Omit<HeadResult, 'rejects'> {
  rejects: number
  seconds: number
  exitReason: ExitReason
}

export async function runEvalHead(context: CommandContext, flags: HeadFlags): Promise<HeadJson> {
  const began = performance.now()
  const run = openEvalContext(context, flags)
  try {
    const result = await evaluateHead({
      source: flags.source,
      model: flags.model,
      cacheDir: defaultCacheDir(),
      transform: flags.transform,
      precision: run.device.precision,
      device: run.device,
      batchSize: flags['batch-size'] ?? run.device.batchSize,
      limit: flags.limit,
      fields: fieldNames(flags),
      maxPixels: flags['max-pixels'],
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
    run.progress.finish([
      ...formatTable([
        ['top-1', `${result.top1.toFixed(3)} %`],
        ['top-5', `${result.top5.toFixed(3)} %`],
      ]),
      '',
      `protocol: ${result.protocol}`,
      `${plural(result.images, 'image')} · ${formatDuration(seconds)}`,
    ])
    return json
  } finally {
    run.close()
  }
}
