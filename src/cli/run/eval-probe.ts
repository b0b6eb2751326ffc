/** `vtp eval-probe` between its flags and the evaluation. */

import path from 'node:path'
import { probeRequest } from '../../api/evaluation-requests.js'
import { evaluateProbe } from '../../metrics/probe/evaluate.js'
import type { ProbeResult } from '../../metrics/probe/request.js'
import type { CommandContext } from '../base-command.js'
import type { FlagValues } from '../flags/declare.js'
import { type EVAL_PROBE_FLAGS, probeSets } from '../flags/eval-probe-flags.js'
import { formatCounts, formatDuration, formatTable, plural } from '../terminal/format.js'
import { endEvaluation, openEvalContext, writeJsonFile } from './eval-context.js'
import type { ExitReason } from './exit-reason.js'

export type ProbeFlags = FlagValues<typeof EVAL_PROBE_FLAGS>

/** The stable object of `--json`. */
export interface ProbeJson extends ProbeResult {
  seconds: number
  out: string | null
  exitReason: ExitReason
}

export async function runEvalProbe(context: CommandContext, flags: ProbeFlags): Promise<ProbeJson> {
  const began = performance.now()
  const run = openEvalContext(context, flags)
  const { stored, ...sets } = probeSets(flags)
  const request = probeRequest(
    {
      ...run.options,
      ...sets,
      features: stored,
      model: flags.model,
      epochs: flags.epochs,
      epochLength: flags['epoch-length'],
      blocks: flags.blocks,
      avgpool: flags.avgpool,
      learningRates: flags['learning-rates'],
      distinctRates: flags['distinct-rates'],
      neighbours: flags.neighbours,
      out: flags.out,
    },
    run.device,
  )
  try {
    const result = await evaluateProbe(request)
    const seconds = Number(((performance.now() - began) / 1000).toFixed(3))
    // Of readings, not of images: in training each image is read many times.
    const outcome = { ...result, images: result.readings - result.rejects }
    if (result.rejects > 0)
      run.progress.note(`left out: ${plural(result.rejects, 'reading')} (${formatCounts(result.rejectsByCode)})`)
    const exitReason = endEvaluation(context, outcome, [], flags['max-bad'])
    const json = { ...result, seconds, out: flags.out ?? null, exitReason }
    if (result.interrupted) return json
    if (flags.out !== undefined) {
      await writeJsonFile(path.join(flags.out, 'probe.json'), json)
    }
    run.progress.finish(describe(result, json.seconds))
    return json
  } finally {
    run.close()
  }
}

function describe(result: ProbeResult, seconds: number): string[] {
  const percent = (value: number): string => `${value.toFixed(2)} %`
  const lines = [`best ${percent(result.top1)}  ${result.bestHead}`, '']
  lines.push(
    ...formatTable(
      Object.entries(result.accuracies).map(([name, value]) => [name, percent(value)]),
      { right: [1], indent: '  ' },
    ),
    '',
  )
  if (result.knn !== undefined) lines.push(`k-NN  ${percent(result.knn)}`)
  if (result.ridge) {
    const each = result.ridge.accuracies.map(({ strength, top1 }) => `${strength}: ${percent(top1)}`).join(', ')
    lines.push(`ridge ${percent(result.ridge.best)} (${each})`)
  }
  return [...lines, `protocol: ${result.protocol}`, formatDuration(seconds)]
}
