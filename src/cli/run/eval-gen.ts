/** `vtp eval-gen` between its flags and the metrics. */

import { fidRequest } from '../../api/evaluation-requests.js'
import { openSampleSet, sampleLists } from '../../generate/sample-set.js'
import type { ListingFacts } from '../../io/sources/listing-report.js'
import { compareSets } from '../../metrics/fid/compare.js'
import { countRejects, type RejectCounts } from '../../pipeline/ledger/rejects.js'
import type { CommandContext } from '../base-command.js'
import type { FlagValues } from '../flags/declare.js'
import type { EVAL_GEN_FLAGS } from '../flags/fid-flags.js'
import { formatDuration, formatTable } from '../terminal/format.js'
import { endEvaluation, formatNumber, openEvalContext } from './eval-context.js'
import type { ExitReason } from './exit-reason.js'

export type EvalGenFlags = FlagValues<typeof EVAL_GEN_FLAGS> & { samples: string }

/** The stable object of `--json`; metrics that were not asked for are absent. */
export interface EvalGenJson extends ListingFacts {
  fid?: number
  sfid?: number
  inceptionScore?: number
  inceptionScoreStd?: number
  precision?: number
  recall?: number
  /** Samples that were judged. */
  images: number | null
  protocol: string
  /** How the samples were made; null where no run of `vtp generate` tells. */
  samples: string | null
  rejects: number
  rejectsByCode: RejectCounts
  seconds: number
  interrupted: boolean
  exitReason: ExitReason
}

export async function runEvalGenCommand(context: CommandContext, flags: EvalGenFlags): Promise<EvalGenJson> {
  const began = performance.now()
  const set = await openSampleSet(flags.samples)
  const run = openEvalContext(context, flags)
  try {
    const request = fidRequest(
      {
        ...run.options,
        reference: flags.reference,
        samples: flags.samples,
        metrics: flags.metrics,
        flavour: flags.flavour,
        neighbour: flags.neighbour,
        prImages: flags['pr-images'],
        lists: sampleLists({ [flags.samples]: set, [flags.reference]: await openSampleSet(flags.reference) }),
      },
      run.device,
    )
    const result = await compareSets(request)
    const { rejects, interrupted, images, kid: _kid, kidStd: _kidStd, ...numbers } = result
    const seconds = (performance.now() - began) / 1000
    const judged = images[1] ?? null
    const outcome = { images: judged ?? 0, rejects: rejects.length, interrupted }
    const exitReason = endEvaluation(context, outcome, rejects, flags['max-bad'])
    if (!interrupted) {
      if (judged !== null && judged < 50_000)
        run.progress.note(`${judged} samples: numbers of papers are of 50,000; fewer give a larger FID.`)
      const made = set ? [`samples: ${set.description}`] : []
      run.progress.finish([
        ...describe(numbers, judged),
        `protocol: ${numbers.protocol}`,
        ...made,
        formatDuration(seconds),
      ])
    }
    const protocol = numbers.protocol
    return {
      ...numbers,
      images: judged,
      protocol,
      samples: set?.description ?? null,
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

type Numbers = Pick<EvalGenJson, 'fid' | 'sfid' | 'inceptionScore' | 'inceptionScoreStd' | 'precision' | 'recall'>

function describe(numbers: Numbers, images: number | null): string[] {
  const rows: [string, number | undefined, number | undefined][] = [
    [images === 50_000 ? 'FID-50K' : 'FID', numbers.fid, undefined],
    ['sFID', numbers.sfid, undefined],
    ['Inception Score', numbers.inceptionScore, numbers.inceptionScoreStd],
    ['precision', numbers.precision, undefined],
    ['recall', numbers.recall, undefined],
  ]
  return formatTable(
    rows
      .filter(([, value]) => value !== undefined)
      .map(([name, value, spread]) => [
        name,
        formatNumber(value!, 4),
        spread === undefined ? '' : `± ${formatNumber(spread, 4)}`,
      ]),
  )
}
