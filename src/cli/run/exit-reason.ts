/** Why a command's exit code is what it is: the field `exitReason` of `--json`. */
import { EXIT, type ExitCode } from '../../errors.js'
import type { CommandContext } from '../base-command.js'

export type ExitReason = 'done' | 'too_many_rejects' | 'interrupted'

/** The worst last. */
const EXIT_CODES: Record<ExitReason, ExitCode> = {
  done: EXIT.ok,
  too_many_rejects: EXIT.rejects,
  interrupted: EXIT.interrupted,
}

/** What of a result decides how a command ends; `images` are those that were no reject. */
export interface Outcome {
  images: number
  rejects: number
  interrupted: boolean
}

/** `maxBad` is the share of rejects that is accepted, 0…1. */
export function exitReasonOf({ images, rejects, interrupted }: Outcome, maxBad: number): ExitReason {
  if (interrupted) return 'interrupted'
  return rejects > 0 && rejects / (images + rejects) > maxBad ? 'too_many_rejects' : 'done'
}

/** "Exit code 1: 1.30 % of the images were rejected, more than --max-bad 1.00 %." */
export function tooManyRejectsText({ images, rejects }: Pick<Outcome, 'images' | 'rejects'>, maxBad: number): string {
  const percent = (share: number): string => `${(share * 100).toFixed(2)} %`
  return `Exit code 1: ${percent(rejects / (images + rejects))} of the images were rejected, more than --max-bad ${percent(maxBad)}.`
}

export function exitCodeOf(reason: ExitReason): ExitCode {
  return EXIT_CODES[reason]
}

/** Sets the exit code. Of several parts of a command the last that was not done well decides. */
export function endWith(context: CommandContext, reason: ExitReason): ExitReason {
  if (reason !== 'done') context.exitCode(EXIT_CODES[reason])
  return reason
}

/** That of a command of several parts. */
export function worstReason(reasons: readonly ExitReason[]): ExitReason {
  const order = Object.keys(EXIT_CODES) as ExitReason[]
  return reasons.reduce((a, b) => (order.indexOf(b) > order.indexOf(a) ? b : a), 'done')
}
