/**
 * `vtp pretrain --dry-run`: what a pre-training needs, from one step that is really computed on a real batch. Writes
 * nothing to DEST. A step that does not fit into memory by its estimate is not tried.
 */
import { freemem } from 'node:os'
import path from 'node:path'
import { freeBytes, WARM_UP_SECONDS } from '../train/dry-run.js'
import { newestState } from '../train/folder.js'
import { CHECKPOINT_ENDING } from './job.js'
import { openJointTrainer } from './joint.js'
import { memoryThere } from './memory.js'
import { readPerceptual } from './perceptual.js'
import { type PreparedPretrain, preparePretrain } from './prepare.js'
import type { PretrainRequest } from './request.js'
import { openStart } from './start.js'

export interface PretrainDryRun {
  parameters: number
  /** Images of the source. */
  rows: number
  batch: { clip: number; ssl: number; rec: number }
  captions: string | null
  /** Steps that are done in DEST, and the last one. */
  step: number
  steps: number
  memory: {
    /** Parameters, gradients, moments and the teacher. */
    stateBytes: number
    /** What the forward pass keeps; an estimate. */
    activationBytes: number
    /** Of the whole process while the step was computed; null where it was not tried. */
    peakBytes: number | null
    availableBytes: number
  }
  time: {
    secondsPerStep: number
    /** The optimiser's part of it. */
    optimizerSeconds: number
    /** One batch's, which others are read beside. */
    dataSeconds: number
    imagesPerSecond: number
    /** Of the steps that are left; samples and evaluations come on top. */
    expectedSeconds: number
  } | null
  disk: {
    checkpointBytes: number
    checkpoints: number
    /** The most that DEST takes: checkpoints that stay, one that is written, one to resume from. */
    bytes: number
    freeBytes: number | null
  }
}

/** Throws usage errors, as a run with the same request would. */
export async function dryRunPretrain(request: PretrainRequest): Promise<PretrainDryRun> {
  const prepared = await preparePretrain(request, { look: true })
  try {
    const { data, memory, steps, parameters } = prepared
    const step = (await newestState(request.dest, CHECKPOINT_ENDING))?.step ?? 0
    const availableBytes = Math.min(freemem(), memoryThere())
    const { stateBytes, activationBytes } = memory
    const fits = stateBytes + activationBytes <= availableBytes
    const measured = fits ? await measureStep(prepared, request) : undefined
    const { clip, ssl, rec, images } = data.plan
    return {
      ...{ parameters, rows: data.rows, batch: { clip, ssl, rec }, captions: data.captions ?? null, step, steps },
      memory: { stateBytes, activationBytes, peakBytes: measured?.peakBytes ?? null, availableBytes },
      time: measured ? expectedTime(measured, images, steps - step) : null,
      disk: await expectedDisk(prepared, request, step),
    }
  } finally {
    await prepared.data.close()
  }
}

interface Measured {
  gradients: number
  optimizer: number
  data: number
  peakBytes: number
}

async function measureStep({ recipe, data }: PreparedPretrain, request: PretrainRequest): Promise<Measured> {
  const { seed, init, threads } = request
  const start = await openStart(recipe, init === undefined ? { seed } : { folder: init, seed })
  try {
    const began = performance.now()
    const { tensors } = await data.read(1)
    const dataSeconds = (performance.now() - began) / 1000
    const perceptual = await readPerceptual(recipe, request)
    const trainer = await openJointTrainer(start, recipe, { threads, batch: data.shapes, perceptual })
    try {
      const run = async () => (await trainer.step(tensors, recipe.hyper_parameters.first_iter)).seconds
      let seconds = await run()
      if (seconds.gradients + seconds.optimizer < WARM_UP_SECONDS) seconds = await run()
      return { ...seconds, data: dataSeconds, peakBytes: process.resourceUsage().maxRSS * 1024 }
    } finally {
      await trainer.close()
    }
  } finally {
    await start.close()
  }
}

function expectedTime({ gradients, optimizer, data }: Measured, images: number, left: number): PretrainDryRun['time'] {
  const secondsPerStep = gradients + optimizer
  return {
    ...{ secondsPerStep, optimizerSeconds: optimizer, dataSeconds: data },
    imagesPerSecond: images / secondsPerStep,
    expectedSeconds: secondsPerStep * left,
  }
}

async function expectedDisk(
  { memory, steps, saveEvery }: PreparedPretrain,
  { dest, keep }: PretrainRequest,
  done: number,
): Promise<PretrainDryRun['disk']> {
  const { checkpointBytes } = memory
  const made = Math.floor(steps / saveEvery) - Math.floor(done / saveEvery) + (steps % saveEvery === 0 ? 0 : 1)
  const checkpoints = Math.min(made, keep ?? made)
  return {
    ...{ checkpointBytes, checkpoints, bytes: checkpointBytes * (checkpoints + 2) },
    freeBytes: await freeBytes(path.resolve(dest)),
  }
}
