/** `vtp fid` between its flags and the metric. */

import { fidRequest } from '../../api/evaluation-requests.js'
import { openSampleSet, type SampleSet, sampleLists } from '../../generate/sample-set.js'
import { compareSets } from '../../metrics/fid/compare.js'
import type { CompareResult } from '../../metrics/fid/request.js'
import type { FidDims } from '../../model/networks.js'
import { countRejects, type RejectCounts } from '../../pipeline/ledger/rejects.js'
import type { CommandContext } from '../base-command.js'
import type { FlagValues } from '../flags/declare.js'
import type { FID_FLAGS } from '../flags/fid-flags.js'
import { formatDuration, formatTable } from '../terminal/format.js'
import { endEvaluation, formatNumber, openEvalContext } from './eval-context.js'
import type { ExitReason } from './exit-reason.js'

export type FidFlags = FlagValues<typeof FID_FLAGS> & { a: string; b?: string }

/** The stable object of `--json`. */
export interface FidJson extends Omit<CompareResult, 'rejects' | 'interrupted'> {
  rejects: number
  rejectsByCode: RejectCounts
  seconds: number
  interrupted: boolean
  exitReason: ExitReason
}

export async function runFidCommand(context: CommandContext, flags: FidFlags): Promise<FidJson> {
  const began = performance.now()
  const sets: Record<string, SampleSet | undefined> = {}
  for (const spec of [flags.a, flags.b]) if (spec !== undefined) sets[spec] = await openSampleSet(spec)
  const run = openEvalContext(context, flags)
  try {
    const request = fidRequest(
      {
        ...run.options,
        reference: flags.a,
        samples: flags.b,
        metrics: flags.metrics,
        flavour: flags.flavour,
        dims: flags.dims as FidDims,
        saveStats: flags['save-stats'],
        kid: { subsets: flags['kid-subsets'], subsetSize: flags['kid-subset-size'] },
        neighbour: flags.neighbour,
        prImages: flags['pr-images'],
        lists: sampleLists(sets),
      },
      run.device,
    )
    const result = await compareSets(request)
    const { rejects, interrupted, ...numbers } = result
    const seconds = (performance.now() - began) / 1000
    const images = numbers.images.reduce<number>((sum, count) => sum + (count ?? 0), 0)
    const outcome = { images, rejects: rejects.length, interrupted }
    const exitReason = endEvaluation(context, outcome, rejects, flags['max-bad'])
    if (!interrupted) {
      const saved = flags['save-stats'] ? [`statistics of ${flags.a} in ${flags['save-stats']}`] : []
      run.progress.finish([...describe(numbers), ...saved, `protocol: ${numbers.protocol}`, formatDuration(seconds)])
    }
    return {
      ...numbers,
      rejects: rejects.length,
      rejectsByCode: countRejects(rejects),
      seconds: Number(seconds.toFixed(3)),
      interrupted,
      exitReason,
    }
  } finally {
    run.close()
  }
}

function describe(result: Omit<CompareResult, 'rejects' | 'interrupted'>): string[] {
  const rows: string[][] = []
  const add = (name: string, value: number | undefined, spread?: number): void => {
    if (value !== undefined)
      rows.push([name, formatNumber(value, 6), spread === undefined ? '' : `± ${formatNumber(spread, 6)}`])
  }
  add('FID', result.fid)
  add('sFID', result.sfid)
  add('KID', result.kid, result.kidStd)
  add('Inception Score', result.inceptionScore, result.inceptionScoreStd)
  add('precision', result.precision)
  add('recall', result.recall)
  return formatTable(rows)
}
