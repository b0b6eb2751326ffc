/** The task `probe` of `vtp eval`: ridge probes on the latents and on CLS with the mean patch. */
import { ridgeRequest } from '../../api/evaluation-requests.js'
import { evaluateRidge, type RidgeResult } from '../../metrics/probe/ridge.js'
import type { CommandContext } from '../base-command.js'
import { type EvalFlags, endEvaluation, openEvalContext } from './eval-context.js'
import type { ExitReason } from './exit-reason.js'

export interface RidgeFlags extends EvalFlags {
  source: string
  model: string
  transform?: string
  /** Images that the probes are fitted on. */
  train: string
}

export interface RidgeJson extends Omit<RidgeResult, 'rejects'> {
  rejects: number
  exitReason: ExitReason
}

export async function runRidge(context: CommandContext, flags: RidgeFlags): Promise<RidgeJson> {
  const { source, model, transform, train } = flags
  const run = openEvalContext(context, flags)
  try {
    const result = await evaluateRidge(ridgeRequest({ ...run.options, source, model, transform, train }, run.device))
    const outcome = { ...result, rejects: result.rejects.length }
    // A share of all images that were read: those of both sets.
    const of = { ...outcome, images: result.images + result.train }
    return { ...outcome, exitReason: endEvaluation(context, of, result.rejects, flags['max-bad']) }
  } finally {
    run.close()
  }
}
