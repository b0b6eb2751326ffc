/** `vtp eval-probe` between its flags and the evaluation. */

import path from 'node:path'
import { evaluateProbe, type ProbeResult } from '../../metrics/probe/evaluate.js'
import { LEARNING_RATES } from '../../metrics/probe/heads.js'
import type { ProbeRequest } from '../../metrics/probe/request.js'
import { defaultCacheDir } from '../../model/index.js'
import type { CommandContext } from '../base-command.js'
import type { FlagValues } from '../flags/declare.js'
import { type EVAL_PROBE_FLAGS, probeSets } from '../flags/eval-probe-flags.js'
import { fieldNames } from '../flags/source-flags.js'
import { formatDuration, formatTable } from '../terminal/format.js'
import { endEvaluation, openEvalContext, writeJsonFile } from './eval-context.js'
import type { ExitReason } from './exit-reason.js'

export type ProbeFlags = FlagValues<typeof EVAL_PROBE_FLAGS>

/** The stable object of `--json`. */
export interface ProbeJson extends ProbeResult {
  seconds: number
  out: string | null
  exitReason: ExitReason
}

/** The script's batch: it is part of the protocol here, not a matter of speed. */
const PROTOCOL_BATCH = 128

export async function runEvalProbe(context: CommandContext, flags: ProbeFlags): Promise<ProbeJson> {
  const began = performance.now()
  const run = openEvalContext(context, flags)
  const request: ProbeRequest = {
    ...probeSets(flags),
    model: flags.model,
    cacheDir: defaultCacheDir(),
    batchSize: flags['batch-size'] ?? PROTOCOL_BATCH,
    epochs: flags.epochs,
    epochLength: flags['epoch-length'],
    blocks: flags.blocks,
    avgpool: flags.avgpool,
    rates: flags['learning-rates'] ?? LEARNING_RATES,
    distinct: flags['distinct-rates'],
    seed: flags.seed,
    neighbours: flags.neighbours,
    precision: run.device.precision,
    device: run.device,
    limit: flags.limit,
    fields: fieldNames(flags),
    maxPixels: flags['max-pixels'],
    out: flags.out,
    checkpointSeconds: flags['checkpoint-seconds'],
    stdin: process.stdin,
    stop: run.stop.signal,
    onNote: run.progress.note,
    onProgress: run.show,
  }
  try {
    const result = await evaluateProbe(request)
    const seconds = Number(((performance.now() - began) / 1000).toFixed(3))
    // Of readings, not of images: in training each image is read many times.
    const outcome = { ...result, images: result.readings - result.rejects }
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
