/**
 * Looks at a training from outside: grids of samples from fixed noise, and the FID of more of them, both by the job of
 * `vtp generate` with the averaged weights of a checkpoint. What the job leaves is taken away again; an evaluation that
 * was interrupted continues where it was.
 */
import { rm, stat } from 'node:fs/promises'
import path from 'node:path'
import type { Device } from '../engine/device.js'
import { processorKind } from '../engine/processor.js'
import { usageError } from '../errors.js'
import { type GenerateRequest, runGenerate } from '../generate/job.js'
import { openSampleSet, sampleLists } from '../generate/sample-set.js'
import { settle } from '../io/atomic.js'
import { makeFolder } from '../io/make-folder.js'
import { openSource } from '../io/sources/index.js'
import { compareSets } from '../metrics/fid/compare.js'
import type { CompareRequest } from '../metrics/fid/request.js'
import { readStatsFile } from '../metrics/fid/stats-file.js'
import type { NetworkOptions } from '../metrics/networks/open.js'
import { openModel } from '../model/index.js'
import { decoderOf } from '../model/parts.js'
import { pictureName } from './folder.js'

export interface SamplingOptions {
  /** The tokenizer whose decoder makes pixels. */
  model: string
  grid: { rows: number; columns: number }
  /** Points of time. */
  steps: number
  timestepShift: number
  cfgScale: number
  seed: number
  engine: Device
  cacheDir: string
  onNote?: (line: string) => void
  stop?: AbortSignal
}

export interface EvaluationOptions {
  /** Statistics (.npz) or images. */
  reference: string
  /** Samples that are judged. */
  num: number
  flavour: CompareRequest['flavour']
  /** Other than 2048 for tests. */
  dims: CompareRequest['dims']
  /** Weights of Inception. */
  weights: Pick<NetworkOptions, 'dir' | 'baseUrl'>
}

export interface Sampled {
  dest: string
  /** `latents_stats.pt`, or none. */
  stats: string
  multiplier: number
  heads: number
}

/** Throws usage error `latent_channels` where the tokenizer does not decode such latents. */
export async function assertDecodes(
  options: SamplingOptions,
  [channels, side]: readonly [number, number, number],
): Promise<void> {
  const model = await openModel(options.model, { cacheDir: options.cacheDir, onNote: options.onNote })
  try {
    const image = decoderOf(model).imageSize({ height: side, width: side })
    const [takes] = decoderOf(model).latentShape(image)
    if (takes === channels) return
    throw usageError(
      'latent_channels',
      `The latents have ${channels} channels; the model ${model.name} decodes ${takes}`,
      ['give --model the model that made the latents', 'leave --samples-every and --eval-every out'],
    )
  } finally {
    await model.close()
  }
}

/** Throws what is wrong with the set that samples are compared with, and with the folder of the network's weights. */
export async function assertJudges({ reference, weights: { dir } }: EvaluationOptions): Promise<void> {
  if (dir !== undefined && !(await stat(dir).catch(() => undefined))?.isDirectory())
    throw usageError('weights_missing', `--weights ${dir} is not a folder`, [
      'give the folder of the downloaded weights',
    ])
  if (/\.npz$/i.test(reference)) {
    if (!(await stat(reference).catch(() => undefined))?.isFile())
      throw usageError('reference_missing', `--reference ${reference} is not a file`, [
        'give statistics by `vtp fid IMAGES --save-stats FILE.npz`, or images',
      ])
    await readStatsFile(reference)
  } else await (await openSource(reference)).close()
}

function generateRequest(
  checkpoint: string,
  work: string,
  { stats, multiplier, heads, dest }: Sampled,
  options: SamplingOptions,
  num: number,
  grid?: SamplingOptions['grid'],
): GenerateRequest {
  const { model, steps, timestepShift, cfgScale, seed, engine, cacheDir, onNote, stop } = options
  return {
    ...{
      dit: checkpoint,
      heads,
      model,
      stats,
      steps,
      timestepShift,
      cfgScale,
      seed,
      num,
      grid,
      cacheDir,
      engine,
      stop,
    },
    latentMultiplier: multiplier,
    labels: 'balanced',
    classes: 'all',
    dest: work,
    overwrite: false,
    precision: engine.precision,
    device: engine.kind,
    processor: processorKind(),
    // A graph of every checkpoint would fill the cache.
    ditCacheDir: path.join(dest, '_vtp', 'sampling-graph'),
    batchSize: engine.kind === 'cpu' ? 4 : 64,
    worker: { index: 0, count: 1 },
    helpOthers: true,
    npz: false,
    onNote,
  }
}

const removeGraph = (dest: string): Promise<void> =>
  rm(path.join(dest, '_vtp', 'sampling-graph'), { recursive: true, force: true })

/** Writes the grid of a step; false when stopped. */
export async function makeSampleGrid(
  checkpoint: string,
  step: number,
  sampled: Sampled,
  options: SamplingOptions,
): Promise<boolean> {
  const { rows, columns } = options.grid
  const work = path.join(sampled.dest, '_vtp', `samples-${step}`)
  try {
    const request = generateRequest(checkpoint, work, sampled, options, rows * columns, options.grid)
    const { complete } = await runGenerate(request)
    if (!complete) return false
    const target = path.join(sampled.dest, pictureName(step))
    await makeFolder(path.dirname(path.resolve(target)))
    await settle(path.join(work, 'preview', `grid-${rows}x${columns}.png`), target)
    return true
  } finally {
    await rm(work, { recursive: true, force: true })
    await removeGraph(sampled.dest)
  }
}

/** The FID of a checkpoint's samples; undefined when stopped. */
export async function evaluateSamples(
  checkpoint: string,
  step: number,
  sampled: Sampled,
  options: SamplingOptions,
  evaluation: EvaluationOptions,
): Promise<{ fid: number; protocol: string } | undefined> {
  const work = path.join(sampled.dest, '_vtp', `evaluation-${step}`)
  const { complete } = await runGenerate(generateRequest(checkpoint, work, sampled, options, evaluation.num))
  if (!complete) return undefined
  const reference = await referenceStats(sampled.dest, options, evaluation)
  if (reference === undefined) return undefined
  const result = await compareSets({
    ...comparison(options, evaluation),
    a: reference,
    b: work,
    lists: sampleLists({ [work]: await openSampleSet(work) }),
  })
  if (result.interrupted) return undefined
  await rm(work, { recursive: true, force: true })
  await removeGraph(sampled.dest)
  return { fid: result.fid!, protocol: result.protocol }
}

function comparison(
  options: SamplingOptions,
  { flavour, dims, weights }: EvaluationOptions,
): Omit<CompareRequest, 'a'> {
  const { engine, cacheDir, onNote, stop } = options
  return {
    ...{ flavour, dims, stop, onNote },
    metrics: ['fid'],
    network: { ...weights, cacheDir, device: engine, onNote, signal: stop },
    batchSize: engine.batchSize,
    checkpointSeconds: 60,
    seed: 0,
    kid: { subsets: 100, subsetSize: 1000 },
    neighbour: 3,
    prImages: 50_000,
    maxPixels: 100_000_000,
  }
}

/** Statistics as they are; those of images are computed once. Undefined when stopped. */
async function referenceStats(
  dest: string,
  options: SamplingOptions,
  evaluation: EvaluationOptions,
): Promise<string | undefined> {
  if (evaluation.reference.endsWith('.npz')) return evaluation.reference
  const file = path.join(dest, '_vtp', 'reference.npz')
  if (await stat(file).catch(() => undefined)) return file
  const lists = sampleLists({ [evaluation.reference]: await openSampleSet(evaluation.reference) })
  const { interrupted } = await compareSets({
    ...comparison(options, evaluation),
    a: evaluation.reference,
    saveStats: file,
    lists,
  })
  return interrupted ? undefined : file
}
