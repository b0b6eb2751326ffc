/** `vtp eval-zeroshot` and `vtp eval-head` between their flags and the evaluation. */
import { classifyRequest } from '../../api/evaluation-requests.js'
import type { ClassifyRequest, ClassifyResult } from '../../metrics/classify/evaluate.js'
import { evaluateHead } from '../../metrics/head/evaluate.js'
import type { StateOptions } from '../../metrics/pass/state.js'
import { evaluateZeroshot } from '../../metrics/zeroshot/evaluate.js'
import type { CommandContext } from '../base-command.js'
import type { FlagValues } from '../flags/declare.js'
import type { EVAL_HEAD_FLAGS, EVAL_ZEROSHOT_FLAGS } from '../flags/eval-flags.js'
import { formatDuration, formatTable, plural } from '../terminal/format.js'
import { endEvaluation, openEvalContext, writeJsonFile } from './eval-context.js'
import type { ExitReason } from './exit-reason.js'

interface Kept {
  source: string
  /** Folder for what a later run continues from; the cache otherwise. */
  stateDir?: string
  /** As in `StateOptions`. */
  kept?: StateOptions['kept']
}
export type HeadFlags = FlagValues<typeof EVAL_HEAD_FLAGS> & Kept
export type ZeroshotFlags = FlagValues<typeof EVAL_ZEROSHOT_FLAGS> & Kept

/** The stable object of `--json`. */
export interface ClassesJson extends Omit<ClassifyResult, 'rejects'> {
  rejects: number
  seconds: number
  exitReason: ExitReason
}

const WORST = 10

export function runEvalZeroshot(context: CommandContext, flags: ZeroshotFlags): Promise<ClassesJson> {
  const { classnames, templates } = flags
  const evaluate = (request: ClassifyRequest) => evaluateZeroshot({ ...request, classnames, templates })
  return runClasses(context, flags, evaluate, details)
}

export function runEvalHead(context: CommandContext, flags: HeadFlags): Promise<ClassesJson> {
  return runClasses(context, flags, evaluateHead, () => [])
}

async function runClasses(
  context: CommandContext,
  flags: HeadFlags,
  evaluate: (request: ClassifyRequest) => Promise<ClassifyResult>,
  more: (result: ClassifyResult) => string[],
): Promise<ClassesJson> {
  const began = performance.now()
  const run = openEvalContext(context, flags)
  try {
    const { source, model, transform, stateDir, kept } = flags
    const options = { ...run.options, source, model, transform, stateDir, kept }
    const result = await evaluate(classifyRequest(options, run.device))
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
      ...more(result),
      `protocol: ${result.protocol}`,
      `${plural(result.images, 'image')} · ${formatDuration(seconds)}`,
    ])
    return json
  } finally {
    run.close()
  }
}

/** The classes that are hardest, and what they are taken for. */
function details({ classes, confusions }: ClassifyResult): string[] {
  const worst = [...classes].sort((a, b) => a.top1 - b.top1 || b.images - a.images).slice(0, WORST)
  const percent = (value: number): string => `${value.toFixed(1)} %`
  return [
    'Classes with the lowest top-1:',
    ...formatTable(
      worst.map((c) => [c.name, percent(c.top1), percent(c.top5), plural(c.images, 'image')]),
      { indent: '  ', right: [1, 2, 3] },
    ),
    ...(confusions.length > 0 ? ['', 'Most frequent mistakes:'] : []),
    ...formatTable(
      confusions.slice(0, WORST).map((c) => [`${c.label} taken for ${c.takenFor}`, String(c.images)]),
      { indent: '  ', right: [1] },
    ),
    '',
  ]
}
