/** What the stages of `vtp pretrain` share between their flags and their jobs. */
import { chooseDevice } from '../../engine/choose-device.js'
import { effectiveCores } from '../../engine/cores.js'
import { EXIT, usageError } from '../../errors.js'
import { defaultCacheDir } from '../../model/index.js'
import type { Judged } from '../../pretrain/judge.js'
import type { PretrainResult } from '../../pretrain/request.js'
import type { StageRequest } from '../../pretrain/stage-request.js'
import type { CommandContext } from '../base-command.js'
import type { FlagValues } from '../flags/declare.js'
import type { PRETRAIN_FLAGS } from '../flags/pretrain-flags.js'
import { fieldNames } from '../flags/source-flags.js'
import { formatCount, formatDuration, formatRate, plural } from '../terminal/format.js'
import { onStopSignals } from '../terminal/signals.js'
import { progressText } from './train.js'

export type PretrainCommandFlags = FlagValues<typeof PRETRAIN_FLAGS> & { source?: string }

/** What a run says on its way, and what stops it. */
type Watched = Required<Pick<StageRequest, 'stop' | 'onNote' | 'onProgress'>>

/** Work that signals stop and the terminal shows. */
export async function whileWatched<T>(
  { terminal }: CommandContext,
  work: (watched: Watched) => Promise<T>,
): Promise<T> {
  const stop = onStopSignals(terminal.note)
  try {
    return await work({
      stop: stop.signal,
      onNote: terminal.note,
      onProgress: (state) => terminal.status(progressText(state)),
    })
  } finally {
    stop.release()
    terminal.close()
  }
}

type StageResult = Pick<PretrainResult, 'step' | 'steps' | 'newSteps' | 'images' | 'seconds' | 'total' | 'interrupted'>
export type StageJson<Result> = Result & { imagesPerSecond: number; out: string }

/** Prints how a stage ended, sets the exit code, and gives the object of `--json`. */
export function endStage<Result extends StageResult>(
  context: CommandContext,
  result: Result,
  out: string,
  lines: string[],
): StageJson<Result> {
  context.terminal.finish(lines)
  if (result.interrupted) context.exitCode(EXIT.interrupted)
  return {
    ...result,
    seconds: Number(result.seconds.toFixed(3)),
    imagesPerSecond: Number((result.images / Math.max(result.seconds, 1e-3)).toFixed(3)),
    out,
  }
}

/** What both stages take of the flags. Throws usage error `source_missing`. */
export function commonRequest(flags: PretrainCommandFlags) {
  const { source, recipe, steps, seed, weights, limit, keep, overwrite } = flags
  if (source === undefined)
    throw usageError('source_missing', 'There are no images to train on: SOURCE is missing', [
      `give a folder, tars, Parquet files or a list${flags.stage === 'decoder' ? '' : ', or given batches by --replay'}`,
    ])
  const cores = effectiveCores()
  return {
    ...{ source, recipe, steps, seed, weights, limit, keep, overwrite },
    settings: flags.set ?? [],
    dest: flags.out,
    fields: fieldNames(flags),
    maxPixels: flags['max-pixels'],
    workers: flags.workers ?? cores,
    threads: flags.threads ?? cores,
    device: chooseDevice({ device: 'cpu', precision: 'fp32', requireGpu: false }),
    cacheDir: defaultCacheDir(),
    saveEvery: flags['save-every'],
    checkpointSeconds: flags['checkpoint-seconds'],
    samplesEvery: flags['samples-every'],
    evalEvery: flags['eval-every'],
  }
}

/** Held-out images. Throws usage error `bad_eval`. */
export function heldOut(flags: PretrainCommandFlags): { source: string; limit?: number } | undefined {
  const { 'eval-every': every, 'eval-source': source, 'eval-train': probeTrain, 'eval-limit': limit } = flags
  if (every === undefined && (source ?? probeTrain ?? limit) === undefined) return undefined
  if (source !== undefined) return { source, limit }
  throw usageError('bad_eval', '--eval-every, --eval-train and --eval-limit go with --eval-source', [
    'give held-out images: --eval-source DIR',
  ])
}

/** `psnr 25.90 · ssim 0.81`. */
export function judgedText(judged: Judged): string {
  const found = Object.entries(judged).filter(([, value]) => value !== undefined)
  return found.map(([name, value]) => `${name} ${Number(value).toFixed(2)}`).join(' · ')
}

/** Where a run is that has something behind it, or nothing before it. */
export function placeLines({ step, steps, resumed }: { step: number; steps: number; resumed: boolean }): string[] {
  if (step >= steps) return [`Nothing is left to do: step ${formatCount(step)} is done.`]
  return resumed ? [`Continuing after step ${formatCount(step)} of ${formatCount(steps)}.`] : []
}

/** `step 4/4, 2 steps in 3 s at 4.1 images/s · loss 0.1234`. */
export function stepsText({ step, steps, newSteps, images, seconds, total }: StageResult): string {
  const rate = newSteps > 0 ? ` at ${formatRate(images / Math.max(seconds, 1e-3), 'images/s')}` : ''
  const loss = total === null ? '' : ` · loss ${total.toFixed(4)}`
  return `step ${formatCount(step)}/${formatCount(steps)}, ${plural(newSteps, 'step')} in ${formatDuration(seconds)}${rate}${loss}`
}
