/** What the evaluation commands share between flags and features: device, networks, progress, rejects. */
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { CommandOptions, EvaluationOptions, NetworkOptions } from '../../api/evaluation-requests.js'
import { chooseDevice } from '../../engine/choose-device.js'
import type { Device } from '../../engine/device.js'
import { writeAtomically } from '../../io/atomic.js'
import { makeFolder } from '../../io/make-folder.js'
import type { Reject } from '../../types.js'
import type { CommandContext } from '../base-command.js'
import type { FlagValues } from '../flags/declare.js'
import type { EVAL_FLAGS } from '../flags/eval-flags.js'
import { fieldNames } from '../flags/source-flags.js'
import { onStopSignals, type StopSignals } from '../terminal/signals.js'
import type { Terminal } from '../terminal/terminal.js'
import { type ExitReason, endWith, exitReasonOf, type Outcome, tooManyRejectsText } from './exit-reason.js'

/** Those of `vtp eval-probe` and `vtp eval-zeroshot` lack the weights. */
export type EvalFlags = Partial<Pick<FlagValues<typeof EVAL_FLAGS>, 'weights'>> &
  Omit<FlagValues<typeof EVAL_FLAGS>, 'weights'> & { precision?: string }

export interface EvalContext {
  device: Device
  /** What every evaluation is asked for, under the names of the library. */
  options: EvaluationOptions & NetworkOptions & CommandOptions
  progress: Terminal
  stop: StopSignals
  close(): void
}

export function openEvalContext(context: CommandContext, flags: EvalFlags): EvalContext {
  const device = chooseDevice({ device: flags.device, precision: flags.precision ?? 'auto', requireGpu: false })
  const progress = context.terminal
  const stop = onStopSignals(progress.note)
  const began = performance.now()
  let first: { done: number; at: number } | undefined
  let last = 0
  /** Images done, of how many, and how fast. */
  const show = (done: number, total: number | null, rejects: number): void => {
    const now = performance.now()
    // A smaller number than before is of another set.
    if (!first || done < last) first = { done, at: now }
    last = done
    const seconds = Math.max((now - first.at) / 1000, 1e-3)
    const imagesPerSecond = done > first.done ? (done - first.done) / seconds : 0
    progress.update({
      done,
      total,
      rejects,
      bytesRead: 0,
      elapsedSeconds: (now - began) / 1000,
      imagesPerSecond,
      etaSeconds: total !== null && imagesPerSecond > 0 ? (total - done) / imagesPerSecond : null,
      bottleneck: null,
      unitsDone: 0,
      unitsTotal: 0,
    })
  }
  return {
    device,
    options: {
      weights: flags.weights,
      batchSize: flags['batch-size'],
      limit: flags.limit,
      fields: fieldNames(flags),
      maxPixels: flags['max-pixels'],
      checkpointSeconds: flags['checkpoint-seconds'],
      seed: flags.seed,
      stdin: process.stdin,
      signal: stop.signal,
      onNote: progress.note,
      onImages: show,
    },
    progress,
    stop,
    close() {
      stop.release()
      progress.close()
    },
  }
}

/** Rejects that are named. */
export const TOLD = 5

/**
 * Tells of images that could not be read, by the first of them, or that the evaluation was interrupted, and sets the
 * exit code.
 */
export function endEvaluation(
  context: CommandContext,
  outcome: Outcome,
  first: readonly Reject[],
  maxBad: number,
): ExitReason {
  const { rejects, interrupted } = outcome
  const { terminal } = context
  const reason = endWith(context, exitReasonOf(outcome, maxBad))
  if (interrupted) {
    terminal.finish(['Interrupted. Run the same command again to continue (exit code 4).'])
    return reason
  }
  for (const { key, code, message } of first.slice(0, TOLD)) terminal.note(`left out: ${key} (${code}: ${message})`)
  if (first.length > 0 && rejects > TOLD) terminal.note(`left out: ${rejects - TOLD} more`)
  if (reason === 'too_many_rejects') terminal.note(tooManyRejectsText(outcome, maxBad))
  return reason
}

/** Writes results where they were asked for, all or nothing; the folder is made. */
export async function writeJsonFile(file: string, value: unknown): Promise<void> {
  await makeFolder(path.dirname(path.resolve(file)))
  await writeAtomically(file, (tmp) => writeFile(tmp, `${JSON.stringify(value, null, 2)}\n`))
}

/** "0.3571" with as many digits as matter; "inf" for infinity. */
export function formatNumber(value: number, digits = 4): string {
  if (value === Number.POSITIVE_INFINITY) return 'inf'
  return Math.abs(value) >= 1e-3 || value === 0 ? value.toFixed(digits) : value.toExponential(3)
}
