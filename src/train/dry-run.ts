/**
 * `vtp train --dry-run`: what a training needs, from a step that is really computed. Writes nothing to DEST. The step
 * has at most two micro-batches of drawn numbers, and its time is scaled to all of them; a model whose state alone
 * does not fit into memory is not tried.
 */
import { stat, statfs } from 'node:fs/promises'
import { freemem } from 'node:os'
import path from 'node:path'
import { cgroupLimits } from '../engine/cgroup.js'
import { type DitConfig, ditName } from '../model/lightningdit/config.js'
import { ditParameters, expectedDitTensors, isBuffer } from '../model/lightningdit/tensors.js'
import { openEngine, openFirstState, stateThere } from './open-state.js'
import { type PreparedTrain, prepareTrain } from './prepare.js'
import type { TrainRequest } from './request.js'
import { rateAt } from './schedule.js'
import { hasState, STATE_KINDS, stateTensors } from './state.js'
import type { TrainBatch } from './step.js'
import { normals, STREAMS } from './streams.js'

export interface TrainDryRun {
  model: string
  parameters: number
  /** Rows of an epoch; null for given batches. */
  rows: number | null
  batch: number
  microBatch: number
  /** Steps that are done in DEST or --init, and the last one. */
  step: number
  steps: number
  memory: {
    /** Parameters, moments, averages and gradients. */
    stateBytes: number
    /** Of the whole process while the step was computed; null where it was not tried. */
    peakBytes: number | null
    availableBytes: number
  }
  time: {
    secondsPerStep: number
    /** The optimiser's part of it. */
    optimizerSeconds: number
    imagesPerSecond: number
    /** Of the steps that are left; samples and evaluations come on top. */
    expectedSeconds: number
  } | null
  disk: {
    checkpointBytes: number
    checkpoints: number
    /** Copies of latents in DEST. */
    copyBytes: number
    /** The most that DEST takes: checkpoints that stay, one that is written, a point to resume from, copies. */
    bytes: number
    freeBytes: number | null
  }
}

const FLOAT = 4
/** Two micro-batches have what all have: a loop and its sums. */
const MEASURED_MICRO_BATCHES = 2
/** A first step below this many seconds is warm-up, and the one after it is measured. */
export const WARM_UP_SECONDS = 20

/** Throws usage errors, as a run with the same request would. */
export async function dryRunTrain(request: TrainRequest): Promise<TrainDryRun> {
  const prepared = await prepareTrain(request, { folder: path.join(request.dest, '_vtp', 'rows'), look: true })
  try {
    const from = await stateThere(request, prepared)
    const first = await openFirstState(prepared, prepared.plan.seed, from, request.dest)
    try {
      const { config, plan, steps } = prepared
      const stateBytes = stateSize(config) + gradientSize(prepared)
      const availableBytes = Math.min(freemem(), cgroupLimits().memoryBytes ?? Number.POSITIVE_INFINITY)
      const measured = stateBytes > availableBytes ? undefined : await measureStep(prepared, first, request)
      return {
        model: ditName(config),
        parameters: ditParameters(config),
        rows: prepared.source.rows ?? null,
        batch: plan.batch,
        microBatch: plan.microBatch,
        step: first.step,
        steps,
        memory: { stateBytes, peakBytes: measured?.peakBytes ?? null, availableBytes },
        time: measured ? expectedTime(measured, plan.batch, steps - first.step) : null,
        disk: await expectedDisk(prepared, request, first.step),
      }
    } finally {
      await first.close()
    }
  } finally {
    await prepared.close()
  }
}

const elements = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1)

function stateSize(config: DitConfig): number {
  let total = 0
  for (const [name, shape] of stateTensors(config))
    total += STATE_KINDS.filter((kind) => hasState(kind, name)).length * elements(shape) * FLOAT
  return total
}

/** With several micro-batches there are their sums, too. */
const gradientSize = ({ config, settings }: PreparedTrain): number =>
  ditParameters(config) * FLOAT * (settings.microBatches > 1 ? 2 : 1)

interface Measured {
  gradients: number
  optimizer: number
  peakBytes: number
}

async function measureStep(
  prepared: PreparedTrain,
  first: Awaited<ReturnType<typeof openFirstState>>,
  request: TrainRequest,
): Promise<Measured> {
  const { settings, schedule, source } = prepared
  const microBatches = Math.min(settings.microBatches, MEASURED_MICRO_BATCHES)
  const step = await openEngine({ ...settings, microBatches }, first, request)
  try {
    const batch = drawnBatch(settings.microBatch * microBatches, source.shape)
    const run = async (): Promise<{ gradients: number; optimizer: number }> =>
      (await step.run(batch, { step: first.updates + 1, lr: rateAt(schedule, first.step + 1) })).seconds
    let seconds = await run()
    if (seconds.gradients + seconds.optimizer < WARM_UP_SECONDS) seconds = await run()
    return {
      gradients: (seconds.gradients * settings.microBatches) / microBatches,
      optimizer: seconds.optimizer,
      peakBytes: process.resourceUsage().maxRSS * 1024,
    }
  } finally {
    await step.close()
  }
}

/** Numbers like those of a batch: their values decide no time. */
function drawnBatch(samples: number, shape: readonly number[]): TrainBatch {
  const draw = (index: number): Float32Array => normals(0, STREAMS.noise, index, samples * elements(shape))
  return {
    ...{ x1: draw(0), x0: draw(1) },
    t: new Float32Array(samples).fill(0.5),
    labels: new BigInt64Array(samples),
  }
}

function expectedTime({ gradients, optimizer }: Measured, batch: number, left: number): TrainDryRun['time'] {
  const secondsPerStep = gradients + optimizer
  return {
    secondsPerStep,
    optimizerSeconds: optimizer,
    imagesPerSecond: batch / secondsPerStep,
    expectedSeconds: secondsPerStep * left,
  }
}

async function expectedDisk(
  { config, steps, saveEvery, rows }: PreparedTrain,
  { dest, keep }: TrainRequest,
  done: number,
): Promise<TrainDryRun['disk']> {
  const tables = [...expectedDitTensors(config)].filter(([name]) => isBuffer(name))
  // Weights and averages have RoPE's tables beside them.
  const checkpointBytes = stateSize(config) + 2 * FLOAT * tables.reduce((sum, [, shape]) => sum + elements(shape), 0)
  const made = Math.floor(steps / saveEvery) - Math.floor(done / saveEvery) + (steps % saveEvery === 0 ? 0 : 1)
  const checkpoints = Math.min(made, keep ?? made)
  const copyBytes = rows?.copyBytes ?? 0
  return {
    checkpointBytes,
    checkpoints,
    copyBytes,
    bytes: checkpointBytes * (checkpoints + 2) + copyBytes,
    freeBytes: await freeBytes(dest),
  }
}

/** Of the disk that a folder is, or will be, on; null where it does not tell. */
export async function freeBytes(folder: string): Promise<number | null> {
  let there = path.resolve(folder)
  while (!(await stat(there).catch(() => undefined)) && path.dirname(there) !== there) there = path.dirname(there)
  const disk = await statfs(there).catch(() => undefined)
  return disk ? disk.bavail * disk.bsize : null
}
