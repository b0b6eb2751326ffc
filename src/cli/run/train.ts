/** `vtp train` between its flags and the job: device, signals, progress, and what is printed. */
import { type TrainOptions, trainJob } from '../../api/train.js'
import { dryRunTrain, type TrainDryRun } from '../../train/dry-run.js'
import { exportTraining, type TrainExport } from '../../train/export/index.js'
import { runTrain } from '../../train/job.js'
import type { TrainProgress } from '../../train/progress.js'
import type { TrainResult, TrainStart } from '../../train/request.js'
import type { CommandContext } from '../base-command.js'
import type { FlagValues } from '../flags/declare.js'
import type { TRAIN_FLAGS } from '../flags/train-flags.js'
import {
  formatBytes,
  formatCount,
  formatDuration,
  formatPercent,
  formatRate,
  plural,
  shellWord,
} from '../terminal/format.js'
import { onStopSignals } from '../terminal/signals.js'
import { type ExitReason, endWith } from './exit-reason.js'

export type TrainFlags = FlagValues<typeof TRAIN_FLAGS> & { latents?: string }

/** The stable object of `--json`. */
export interface TrainJson extends TrainResult {
  imagesPerSecond: number
  device: string
  out: string
  exitReason: ExitReason
}

export async function runTrainCommand(context: CommandContext, flags: TrainFlags): Promise<unknown> {
  const { out } = flags
  const progress = context.terminal
  const stop = onStopSignals(progress.note)
  try {
    const job = trainJob({
      ...trainOptions(flags, out),
      signal: stop.signal,
      onNote: progress.note,
      onStart: (info) => {
        for (const line of describeStart(info, computing(job.device.summary, flags))) progress.note(line)
      },
      onProgress: (state) => progress.status(progressText(state)),
    })
    const { request, device } = job
    if (flags['dry-run']) {
      const found = await dryRunTrain(request)
      progress.finish(describeDryRun(found, computing(device.summary, flags)))
      return found
    }
    if (flags.export !== undefined) {
      const exported = await exportTraining(request, flags.export)
      progress.finish(describeExport(exported))
      return exported
    }
    const result = await runTrain(request)
    progress.finish(describeResult(result, out))
    const json: TrainJson = {
      ...result,
      seconds: Number(result.seconds.toFixed(3)),
      imagesPerSecond: Number((result.newImages / Math.max(result.seconds, 1e-3)).toFixed(3)),
      device: device.kind,
      out,
      exitReason: endWith(context, result.interrupted ? 'interrupted' : 'done'),
    }
    return json
  } finally {
    stop.release()
    progress.close()
  }
}

/** The device, and what its products are made in where that is not float32. */
const computing = (device: string, { precision }: TrainFlags): string =>
  precision === 'fp32' ? device : `${device}, products in ${precision}`

/** The flags under the names of the job. */
function trainOptions(flags: TrainFlags, out: string): TrainOptions {
  const { latents, size, heads, init, replay, stats, steps, lr, warmup, beta2, seed, keep } = flags
  const { grid, reference, flavour, weights, model, device, threads, overwrite } = flags
  return {
    ...{ latents, size, heads, init, replay, stats, steps, lr, warmup, beta2, seed, keep },
    ...{ grid, reference, flavour, weights, model, device, threads, overwrite, out },
    ditConfig: flags['dit-config'],
    numClasses: flags['num-classes'],
    latentMultiplier: flags['latent-multiplier'],
    batchSize: flags['batch-size'],
    microBatch: flags['micro-batch'],
    checkpointActivations: flags['checkpoint-activations'],
    precision: flags.precision,
    lossScale: flags['loss-scale'],
    stepsPerRun: flags['steps-per-run'],
    schedule: flags['lr-schedule'],
    weightDecay: flags['weight-decay'],
    emaDecay: flags['ema-decay'],
    maxGradNorm: flags['max-grad-norm'],
    cosineLoss: flags['cosine-loss'],
    labelDropout: flags['label-dropout'],
    saveEvery: flags['save-every'],
    checkpointSeconds: flags['checkpoint-seconds'],
    samplesEvery: flags['samples-every'],
    evalEvery: flags['eval-every'],
    evalNum: flags['eval-num'],
    dims: flags.dims as TrainOptions['dims'],
    samplingSteps: flags['sampling-steps'],
    timestepShift: flags['timestep-shift'],
    cfgScale: flags['cfg-scale'],
    weightsUrl: process.env.VTP_WEIGHTS_URL,
  }
}

/** `3 h 12 min left · loss 0.8123 · 21.4 images/s · 34.5 % · step 3,450/10,000 · FID 12.3` */
export function progressText({ step, steps, loss, imagesPerSecond, etaSeconds, fid }: TrainProgress): string {
  return [
    ...(etaSeconds === null ? [] : [`${formatDuration(etaSeconds)} left`]),
    `loss ${loss.toFixed(4)}`,
    formatRate(imagesPerSecond, 'images/s'),
    formatPercent(step / steps),
    `step ${formatCount(step)}/${formatCount(steps)}`,
    ...(fid === undefined ? [] : [`FID ${fid.toFixed(2)}`]),
  ].join(' · ')
}

function describeStart(info: TrainStart, device: string): string[] {
  const { model, parameters, rows, batch, microBatch, step, steps, resumed } = info
  const data = rows === undefined ? 'given batches' : `${plural(rows, 'row')}, every one once per epoch`
  const lines = [
    `${model}, ${formatCount(parameters)} parameters · batches of ${batch}${microBatch < batch ? ` (${microBatch} at once)` : ''} · ${data} · ${device}`,
  ]
  if (step > steps)
    lines.push(`Nothing is left to do: --steps is ${formatCount(steps)}, and step ${formatCount(step)} is done.`)
  else if (step === steps) lines.push(`Nothing is left to do: step ${formatCount(step)} is done.`)
  else if (resumed) lines.push(`Continuing after step ${formatCount(step)} of ${formatCount(steps)}.`)
  else if (step > 0) lines.push(`Beginning after step ${formatCount(step)} of --init, up to ${formatCount(steps)}.`)
  return lines
}

function describeDryRun({ memory, time, disk, ...about }: TrainDryRun, device: string): string[] {
  const { model, parameters, rows, batch, microBatch, step, steps } = about
  const left = steps - step
  const epochs = rows === null ? '' : `, ${((left * batch) / rows).toFixed(1)} epochs of ${plural(rows, 'row')}`
  const peak =
    memory.peakBytes === null
      ? `the state alone, ${formatBytes(memory.stateBytes)}, is more than the ${formatBytes(memory.availableBytes)} that are free: no step was tried`
      : `${formatBytes(memory.peakBytes)} at most (${formatBytes(memory.stateBytes)} of parameters, moments, averages and gradients); ${formatBytes(memory.availableBytes)} were free`
  const lines = [
    `${model}, ${formatCount(parameters)} parameters · batches of ${batch}${microBatch < batch ? ` (${microBatch} at once)` : ''} · ${device}`,
    `steps:  ${formatCount(left)} to do${step > 0 ? ` after step ${formatCount(step)}` : ''}${epochs}`,
    `memory: ${peak}`,
    ...describeDisk(disk),
  ]
  if (time)
    lines.push(
      `time:   ${formatDuration(time.expectedSeconds)} at ${formatDuration(time.secondsPerStep)} a step (${formatRate(time.imagesPerSecond, 'images/s')}); samples and evaluations come on top`,
    )
  return [...lines, 'Nothing was written.']
}

/** What a training takes of the disk, and whether it has it. */
export function describeDisk(
  disk: Omit<TrainDryRun['disk'], 'copyBytes'> & Partial<Pick<TrainDryRun['disk'], 'copyBytes'>>,
): string[] {
  const { bytes, checkpoints, checkpointBytes, freeBytes, copyBytes = 0 } = disk
  const kept = `${plural(checkpoints, 'checkpoint')} of ${formatBytes(checkpointBytes)}`
  const free = freeBytes === null ? '' : `; ${formatBytes(freeBytes)} are free`
  const copies = copyBytes > 0 ? `, copies of the latents ${formatBytes(copyBytes)}` : ''
  const line = `disk:   ${formatBytes(bytes)} at most: ${kept}, and two in hand${copies}${free}`
  if (freeBytes === null || bytes <= freeBytes) return [line]
  return [line, 'The disk is too small: choose --keep N, a larger --save-every or another --out.']
}

function describeExport({ folder, model, step, steps, shards, linked, notes }: TrainExport): string[] {
  const made = linked === shards ? 'linked' : linked === 0 ? 'written' : `${linked} of them linked`
  return [
    `${model} after step ${formatCount(step)} of ${formatCount(steps)}, ${plural(shards, 'shard')} (${made}) in ${folder}`,
    ...notes.map((note) => `train.py: ${note}`),
    `Next: LIGHTNINGDIT=/path/to/LightningDiT GPUS=8 ${shellWord(`${folder}/launch.sh`)}`,
  ]
}

function describeResult(result: TrainResult, out: string): string[] {
  const { step, steps, newSteps, newImages, seconds, mse, fid, checkpoint } = result
  const rate = newSteps > 0 ? ` at ${formatRate(newImages / Math.max(seconds, 1e-3), 'images/s')}` : ''
  const numbers = [
    ...(mse === null ? [] : [`loss ${mse.toFixed(4)}`]),
    ...(fid === null ? [] : [`FID ${fid.toFixed(2)}`]),
  ]
  const lines = [
    `step ${formatCount(step)}/${formatCount(Math.max(step, steps))}, ${plural(newSteps, 'step')} in ${formatDuration(seconds)}${rate}${numbers.map((n) => ` · ${n}`).join('')}`,
  ]
  if (checkpoint) lines.push(`${out}/${checkpoint} · ${out}/report.html`)
  if (result.interrupted) lines.push('Interrupted. Run the same command again to continue.')
  return lines
}
