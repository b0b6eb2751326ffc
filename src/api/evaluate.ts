/**
 * Evaluation for programs: options with the defaults of the commands → the evaluators. Results go where `out` says,
 * and an interrupted evaluation continues when the same call is made again.
 */
import path from 'node:path'
import { chooseDevice, choosePrecision } from '../engine/choose-device.js'
import type { Device } from '../engine/device.js'
import { defaultCacheDir } from '../io/cache.js'
import { compareSets } from '../metrics/fid/compare.js'
import type { CompareResult, FidMetric } from '../metrics/fid/request.js'
import { type ProbeResult, evaluateProbe as runProbe } from '../metrics/probe/evaluate.js'
import { LEARNING_RATES } from '../metrics/probe/heads.js'
import { evaluateReconstruction as runReconstruction } from '../metrics/recon/evaluate.js'
import { RECON_METRICS, type ReconMetric, type ReconResult } from '../metrics/recon/request.js'
import { evaluateZeroshot as runZeroshot, type ZeroshotResult } from '../metrics/zeroshot/evaluate.js'
import type { FidDims, FidFlavour } from '../model/networks.js'
import { MAX_PIXELS } from './encode.js'

export interface EvaluationOptions {
  /** `auto` (the default), `cpu`, `cuda` or `cuda:1`. */
  device?: string
  /** Arithmetic of the model: `auto` (the default), `fp32`, `fp16`, `bf16` or `int8`. */
  precision?: string
  /** Images per pass of a network. Of a probe it is part of the protocol; elsewhere it does not change the results. */
  batchSize?: number
  /** Use at most this many images, from the start of the listing. */
  limit?: number
  maxPixels?: number
  /** How often progress is made durable. */
  checkpointSeconds?: number
  /** Seed of everything that is drawn at random; default 0. */
  seed?: number
  /** Stops cleanly when it is aborted; the result then says `interrupted`. */
  signal?: AbortSignal
  onNote?: (line: string) => void
  onImages?: (done: number, total: number | null, rejects: number) => void
}

interface NetworkOptions {
  /** Folder with the weights of Inception, VGG16 and LPIPS; default the cache, which downloads them once. */
  weights?: string
}

const chosen = ({ device = 'auto', precision = 'auto' }: EvaluationOptions): Device =>
  chooseDevice({ device, precision, requireGpu: false })

/** What all evaluators are asked for. */
function common(options: EvaluationOptions, device: Device) {
  return {
    device,
    precision: device.precision,
    cacheDir: defaultCacheDir(),
    batchSize: options.batchSize ?? device.batchSize,
    limit: options.limit,
    maxPixels: options.maxPixels ?? MAX_PIXELS,
    stop: options.signal,
    onNote: options.onNote,
    onImages: options.onImages,
  }
}

/** The networks that metrics need. */
function network({ weights, onNote, signal }: EvaluationOptions & NetworkOptions, device: Device) {
  const baseUrl = process.env.VTP_WEIGHTS_URL
  return { dir: weights, cacheDir: defaultCacheDir(), baseUrl, device, onNote, signal }
}

export interface ReconstructionOptions extends EvaluationOptions, NetworkOptions {
  source: string
  /** Default `nano`. */
  model?: string
  /** Default all of `psnr`, `ssim`, `lpips`, `rfid`; the last two need weights. */
  metrics?: ReconMetric[]
  /** Default `adm-crop(S)` at the model's size, as the official script. */
  transform?: string
  /** Arithmetic of the pixel decoder; default `fp32`. */
  decoderPrecision?: string
  /** The official script averages SSIM and LPIPS per batch first; default 32. */
  protocolBatch?: number
  /** Folder for what a later call continues from, and for the images; default the cache. */
  out?: string
  saveImages?: boolean
  overwrite?: boolean
}

/** How well a model reconstructs a dataset: rFID, PSNR, SSIM and LPIPS, with their protocol. */
export function evaluateReconstruction(options: ReconstructionOptions): Promise<ReconResult> {
  const device = chosen(options)
  return runReconstruction({
    ...common(options, device),
    source: options.source,
    model: options.model ?? 'nano',
    metrics: options.metrics ?? [...RECON_METRICS],
    transform: options.transform,
    decoderPrecision: choosePrecision('decoderPrecision', options.decoderPrecision ?? 'fp32', device.kind),
    network: network(options, device),
    protocolBatch: options.protocolBatch ?? 32,
    checkpointSeconds: options.checkpointSeconds ?? 60,
    out: options.out,
    saveImages: options.saveImages ?? false,
    overwrite: options.overwrite,
  })
}

export interface ZeroShotOptions extends EvaluationOptions {
  source: string
  /** Default `nano`. */
  model?: string
  /** A file with one name per line; default the 1,000 of ImageNet. */
  classnames?: string
  /** A file with one template per line, `{}` or `{c}` for the name; default the 80 of OpenCLIP. */
  templates?: string
  transform?: string
}

/** Zero-shot classification of a labelled dataset: top-1, top-5, every class, the most frequent mistakes. */
export function evaluateZeroShot(options: ZeroShotOptions): Promise<ZeroshotResult> {
  const { source, model = 'nano', classnames, templates, transform, checkpointSeconds = 60 } = options
  const request = { source, model, classnames, templates, transform, checkpointSeconds }
  return runZeroshot({ ...common(options, chosen(options)), ...request })
}

export interface ProbeOptions extends EvaluationOptions {
  /** Images with classes, or folders of shards with features where `features` is true. */
  train: string
  val: string
  /** Whether `train` and `val` are shards of `encode` with the output `layers`. */
  features?: boolean
  /** Default `nano`. */
  model?: string
  epochs?: number
  epochLength?: number
  /** Numbers of last blocks whose CLS tokens a head reads; default 1 and 4, as far as the model has them. */
  blocks?: number[]
  avgpool?: boolean[]
  learningRates?: number[]
  distinctRates?: boolean
  /** Neighbours of the k-NN classifier, with features only; default 20. */
  neighbours?: number
  /** Folder for what a later call continues from. */
  out?: string
}

/** The linear probe: the best of a grid of linear heads on frozen features. */
export function evaluateProbe(options: ProbeOptions): Promise<ProbeResult> {
  const { onImages, ...rest } = common({ ...options, batchSize: options.batchSize ?? 128 }, chosen(options))
  return runProbe({
    ...rest,
    onProgress: onImages,
    train: options.train,
    val: options.val,
    stored: options.features ?? false,
    model: options.model ?? 'nano',
    epochs: options.epochs ?? 10,
    epochLength: options.epochLength ?? 1250,
    blocks: options.blocks,
    avgpool: options.avgpool,
    rates: options.learningRates ?? LEARNING_RATES,
    distinct: options.distinctRates ?? false,
    neighbours: options.neighbours ?? 20,
    seed: options.seed ?? 0,
    out: options.out === undefined ? undefined : path.resolve(options.out),
    checkpointSeconds: options.checkpointSeconds ?? 300,
  })
}

export interface FidOptions extends EvaluationOptions, NetworkOptions {
  /** The reference: images, or statistics (`.npz`). */
  reference: string
  /** What is judged. */
  samples: string
  /** Default `['fid']`; also `sfid`, `kid`, `is` and `prec` (precision and recall). */
  metrics?: FidMetric[]
  /** Whose protocol; default `pytorch-fid`. */
  flavour?: FidFlavour
  dims?: FidDims
  kid?: { subsets: number; subsetSize: number }
  /** Precision and recall: the neighbour that sets the radius (3), and images of each set (50,000). */
  neighbour?: number
  prImages?: number
}

/** Compares two sets of images: FID and its relatives, with their protocol. */
export function fid(options: FidOptions): Promise<CompareResult> {
  const device = chosen(options)
  return compareSets({
    ...common(options, device),
    a: options.reference,
    b: options.samples,
    metrics: options.metrics ?? ['fid'],
    flavour: options.flavour ?? 'pytorch-fid',
    dims: options.dims ?? 2048,
    network: network(options, device),
    checkpointSeconds: options.checkpointSeconds ?? 60,
    seed: options.seed ?? 0,
    kid: options.kid ?? { subsets: 100, subsetSize: 1000 },
    neighbour: options.neighbour ?? 3,
    prImages: options.prImages ?? 50_000,
  })
}
