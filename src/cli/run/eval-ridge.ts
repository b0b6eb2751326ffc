/** The task `probe` of `vtp eval`: ridge probes on the latents and on CLS with the mean patch. */
import { readFile } from 'node:fs/promises'
import { ridgeRequest } from '../../api/evaluation-requests.js'
import { usageError } from '../../errors.js'
import { evaluateRidge, type RidgeResult } from '../../metrics/probe/ridge.js'
import type { CommandContext } from '../base-command.js'
import { type EvalFlags, endEvaluation, openEvalContext, writeJsonFile } from './eval-context.js'
import type { ExitReason } from './exit-reason.js'

export interface RidgeFlags extends EvalFlags {
  source: string
  model: string
  transform?: string
  /** Images that the probes are fitted on. */
  train: string
  /** File for the result. */
  out?: string
  overwrite: boolean
}

export interface RidgeJson extends Omit<RidgeResult, 'rejects'> {
  rejects: number
  exitReason: ExitReason
}

/** Throws usage error `other_evaluation` where `out` has the result of another one, unless it may be overwritten. */
export async function runRidge(context: CommandContext, flags: RidgeFlags): Promise<RidgeJson> {
  const { source, model, transform, train, out, overwrite } = flags
  const run = openEvalContext(context, flags)
  try {
    const result = await evaluateRidge(ridgeRequest({ ...run.options, source, model, transform, train }, run.device))
    const outcome = { ...result, rejects: result.rejects.length }
    // A share of all images that were read: those of both sets.
    const of = { ...outcome, images: result.images + result.train }
    const json = { ...outcome, exitReason: endEvaluation(context, of, result.rejects, flags['max-bad']) }
    if (out === undefined || result.interrupted) return json
    const there = overwrite ? undefined : await protocolIn(out)
    if (there !== undefined && there !== result.protocol)
      throw usageError('other_evaluation', `${out} holds another evaluation: ${there}`, [
        'choose another --out, or pass --overwrite',
      ])
    await writeJsonFile(out, json)
    return json
  } finally {
    run.close()
  }
}

/** Undefined where there is no result. */
async function protocolIn(file: string): Promise<string | undefined> {
  try {
    return (JSON.parse(await readFile(file, 'utf8')) as { protocol?: string }).protocol
  } catch {
    return undefined
  }
}
