/** `vtp pretrain` between its flags and the job: signals, progress, and what is printed. */
import { chooseDevice } from '../../engine/choose-device.js'
import { effectiveCores } from '../../engine/cores.js'
import { EXIT, usageError } from '../../errors.js'
import { FOLDER_NAMES } from '../../metrics/zeroshot/prompts.js'
import { defaultCacheDir } from '../../model/index.js'
import type { Export } from '../../pretrain/checkpoint.js'
import { dryRunPretrain, type PretrainDryRun } from '../../pretrain/dry-run.js'
import { runPretrain } from '../../pretrain/job.js'
import type { Judged } from '../../pretrain/judge.js'
import type { PretrainInfo, PretrainRequest, PretrainResult } from '../../pretrain/request.js'
import { type ReplayResult, replayPretraining } from '../../pretrain/run.js'
import type { CommandContext } from '../base-command.js'
import type { FlagValues } from '../flags/declare.js'
import type { PRETRAIN_FLAGS } from '../flags/pretrain-flags.js'
import { fieldNames } from '../flags/source-flags.js'
import { formatBytes, formatCount, formatDuration, formatRate, plural } from '../terminal/format.js'
import { onStopSignals } from '../terminal/signals.js'
import { describeDisk, progressText } from './train.js'

export type PretrainCommandFlags = FlagValues<typeof PRETRAIN_FLAGS> & { source?: string }

/** The stable object of `--json`. */
export interface PretrainJson extends PretrainResult {
  imagesPerSecond: number
  out: string
}

export async function runPretrainCommand(
  context: CommandContext,
  flags: PretrainCommandFlags,
): Promise<PretrainJson | PretrainDryRun | ReplayResult> {
  if (flags.latents !== undefined)
    throw usageError('bad_stage', '--latents goes with --stage decoder', ['add it, or leave --latents out'])
  if (flags.replay !== undefined && flags['dry-run'])
    throw usageError('bad_replay', '--dry-run looks at a run on SOURCE, not at given batches', [
      'leave one of them out',
    ])
  if (flags.replay !== undefined) return runReplay(context, flags, flags.replay)
  const { terminal } = context
  const stop = onStopSignals(terminal.note)
  try {
    const request = requestOf(flags)
    if (flags['dry-run']) {
      const found = await dryRunPretrain({ ...request, stop: stop.signal, onNote: terminal.note })
      terminal.finish(describeDryRun(found))
      return found
    }
    const result = await runPretrain({
      ...request,
      stop: stop.signal,
      onNote: terminal.note,
      onStart: (info) => {
        for (const line of describeStart(info)) terminal.note(line)
      },
      onProgress: (state) => terminal.status(progressText(state)),
    })
    terminal.finish(describeResult(result, flags.out))
    if (result.interrupted) context.exitCode(EXIT.interrupted)
    return {
      ...result,
      seconds: Number(result.seconds.toFixed(3)),
      imagesPerSecond: Number((result.images / Math.max(result.seconds, 1e-3)).toFixed(3)),
      out: flags.out,
    }
  } finally {
    stop.release()
    terminal.close()
  }
}

function requestOf(flags: PretrainCommandFlags): PretrainRequest {
  const { init, classnames, templates } = flags
  return {
    ...commonRequest(flags),
    ...{ init, classnames, templates },
    exported: flags.export as Export,
    stdin: process.stdin,
    evaluation: evaluationOf(flags),
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

function evaluationOf(flags: PretrainCommandFlags): PretrainRequest['evaluation'] {
  const set = heldOut(flags)
  const { 'eval-train': probeTrain, classnames = FOLDER_NAMES, templates } = flags
  return set && { ...set, probeTrain, classnames, templates }
}

/** Flags of runs on SOURCE. */
const SOURCE_ONLY = [
  ...(['samples-every', 'eval-every', 'eval-source', 'eval-train', 'eval-limit'] as const),
  ...(['classnames', 'templates', 'limit'] as const),
]

/** What given batches decide, or have no use for, is refused. Throws usage error `bad_replay`. */
function assertReplayFlags(flags: PretrainCommandFlags): void {
  const other = SOURCE_ONLY.find((name) => flags[name] !== undefined)
  if (other !== undefined) throw usageError('bad_replay', `--${other} does not go with --replay`, ['leave it out'])
  if (flags.set?.some((setting) => /^config\.batch[.=]/.test(setting)))
    throw usageError('bad_replay', '--set config.batch does not go with --replay: the file has its batches', [
      'leave it out',
    ])
}

async function runReplay(
  { terminal }: CommandContext,
  flags: PretrainCommandFlags,
  replay: string,
): Promise<ReplayResult> {
  const { source, init, recipe, steps, out, weights, threads } = flags
  if (source !== undefined) throw usageError('bad_replay', '--replay takes the place of SOURCE: give one of them')
  assertReplayFlags(flags)
  if (init === undefined || steps === undefined)
    throw usageError('bad_replay', '--replay needs --init and --steps', [
      'give the folder to begin with, and how many steps of the file are to be done',
    ])
  const result = await replayPretraining({
    ...{ replay, init, recipe, settings: flags.set ?? [], steps, out, weights },
    exported: flags.export as Export,
    threads: threads ?? effectiveCores(),
    cacheDir: defaultCacheDir(),
    onStep: (log) =>
      terminal.note(`step ${log.iteration}: total ${log.total.toFixed(4)}, gradient norm ${log.grad_norm.toFixed(3)}`),
  })
  terminal.print([`${plural(result.steps, 'step')}: ${result.checkpoint}`])
  return result
}

/** `11,212,353 parameters · 50,000 images, every one once per epoch · images of a step: contrastive 96, …` */
function describeSize({ parameters, images, batch }: Pick<PretrainInfo, 'parameters' | 'images' | 'batch'>): string {
  const parts = Object.entries({ contrastive: batch.clip, 'self-supervised': batch.ssl, reconstruction: batch.rec })
  const branches = parts.filter(([, count]) => count > 0).map(([name, count]) => `${name} ${count}`)
  return `${formatCount(parameters)} parameters · ${formatCount(images)} images, every one once per epoch · images of a step: ${branches.join(', ')}`
}

function describeDryRun({ memory, time, disk, step, steps, rows, ...about }: PretrainDryRun): string[] {
  const left = steps - step
  const epochs = (left * Math.max(...Object.values(about.batch))) / rows
  const parts = `${formatBytes(memory.stateBytes)} of parameters, gradients, moments and teacher, about ${formatBytes(memory.activationBytes)} of activations`
  const needed = formatBytes(memory.stateBytes + memory.activationBytes)
  const lines = [
    describeSize({ ...about, images: rows }),
    `steps:  ${formatCount(left)} to do${step > 0 ? ` after step ${formatCount(step)}` : ''}, ${epochs.toFixed(1)} epochs`,
    memory.peakBytes === null
      ? `memory: about ${needed} (${parts}) are more than the ${formatBytes(memory.availableBytes)} that are free: no step was tried`
      : `memory: ${formatBytes(memory.peakBytes)} at most (${parts}); ${formatBytes(memory.availableBytes)} were free`,
    ...describeDisk(disk),
  ]
  if (time)
    lines.push(
      `time:   ${formatDuration(time.expectedSeconds)} at ${time.secondsPerStep.toFixed(2)} s a step (${formatRate(time.imagesPerSecond, 'images/s')}), where batches are read as fast: the first one took ${time.dataSeconds.toFixed(2)} s; samples and evaluations come on top`,
    )
  return [...lines, 'Nothing was written.']
}

function describeStart(info: PretrainInfo): string[] {
  const lines = [describeSize(info), ...(info.captions === undefined ? [] : [`Captions: ${info.captions}.`])]
  return [...lines, ...placeLines(info)]
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
export function stepsText({
  step,
  steps,
  newSteps,
  images,
  seconds,
  total,
}: Pick<PretrainResult, 'step' | 'steps' | 'newSteps' | 'images' | 'seconds' | 'total'>): string {
  const rate = newSteps > 0 ? ` at ${formatRate(images / Math.max(seconds, 1e-3), 'images/s')}` : ''
  const loss = total === null ? '' : ` · loss ${total.toFixed(4)}`
  return `step ${formatCount(step)}/${formatCount(steps)}, ${plural(newSteps, 'step')} in ${formatDuration(seconds)}${rate}${loss}`
}

function describeResult(result: PretrainResult, out: string): string[] {
  const { rejects, evaluation, checkpoint } = result
  const lines = [stepsText(result)]
  const replaced = Object.entries(rejects)
  if (replaced.length > 0)
    lines.push(
      `Images that could not be read, and were replaced by the next ones: ${replaced.map(([code, count]) => `${formatCount(count)} ${code}`).join(', ')}`,
    )
  const judged = evaluation ? judgedText(evaluation) : ''
  if (judged !== '') lines.push(judged)
  if (checkpoint) lines.push(`${out}/${checkpoint} · ${out}/report.html`)
  if (result.interrupted) lines.push('Interrupted. Run the same command again to continue.')
  return lines
}
