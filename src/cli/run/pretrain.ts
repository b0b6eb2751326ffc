/** `vtp pretrain` between its flags and the job: signals, progress, and what is printed. */
import { effectiveCores } from '../../engine/cores.js'
import { usageError } from '../../errors.js'
import { FOLDER_NAMES } from '../../metrics/zeroshot/prompts.js'
import { defaultCacheDir } from '../../model/index.js'
import type { Export } from '../../pretrain/checkpoint.js'
import { dryRunPretrain, type PretrainDryRun } from '../../pretrain/dry-run.js'
import { runPretrain } from '../../pretrain/job.js'
import type { PretrainInfo, PretrainRequest, PretrainResult } from '../../pretrain/request.js'
import { type ReplayResult, replayPretraining } from '../../pretrain/run.js'
import type { CommandContext } from '../base-command.js'
import { formatBytes, formatCount, formatDuration, formatRate, plural } from '../terminal/format.js'
import {
  commonRequest,
  endStage,
  heldOut,
  judgedText,
  type PretrainCommandFlags,
  placeLines,
  type StageJson,
  stepsText,
  whileWatched,
} from './pretrain-stage.js'
import { describeDisk } from './train.js'

/** The stable object of `--json`. */
export type PretrainJson = StageJson<PretrainResult>

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
  return whileWatched(context, async (watched) => {
    const { terminal } = context
    const request: PretrainRequest = { ...requestOf(flags), ...watched }
    if (flags['dry-run']) {
      const found = await dryRunPretrain(request)
      terminal.finish(describeDryRun(found))
      return found
    }
    const onStart = (info: PretrainInfo): void => describeStart(info).forEach(terminal.note)
    const result = await runPretrain({ ...request, onStart })
    return endStage(context, result, flags.out, describeResult(result, flags.out))
  })
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
