/**
 * What evaluations are asked for: options with the defaults of the commands → the requests of the evaluators. Programs
 * (evaluate.ts) and the command line (cli/run) make their requests here.
 */
import path from 'node:path'
import { chooseDevice, choosePrecision } from '../engine/choose-device.js'
import type { Device } from '../engine/device.js'
import { defaultCacheDir } from '../io/cache.js'
import type { FieldNames } from '../io/sources/options.js'
import type { ClassifyRequest } from '../metrics/classify/evaluate.js'
import type { CompareRequest, FidMetric } from '../metrics/fid/request.js'
import type { StateOptions } from '../metrics/pass/state.js'
import { LEARNING_RATES } from '../metrics/probe/heads.js'
import type { ProbeRequest } from '../metrics/probe/request.js'
import type { RidgeRequest } from '../metrics/probe/ridge.js'
import { RECON_METRICS, type ReconMetric, type ReconRequest } from '../metrics/recon/request.js'
import type { ZeroshotRequest } from '../metrics/zeroshot/evaluate.js'
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

/** What the command line gives besides. */
export interface CommandOptions {
  /** Columns or fields of a source, where they do not have the usual names. */
  fields?: FieldNames
  /** The list that a source `-` is. */
  stdin?: AsyncIterable<Uint8Array>
  /** As in `StateOptions`. */
  kept?: StateOptions['kept']
}
type Given<Options> = Options & CommandOptions

export interface NetworkOptions {
  /** Folder with the weights of Inception, VGG16 and LPIPS; default the cache, which downloads them once. */
  weights?: string
}

const chosen = ({ device = 'auto', precision = 'auto' }: EvaluationOptions): Device =>
  chooseDevice({ device, precision, requireGpu: false })

/** What all evaluators are asked for. */
function common(options: Given<EvaluationOptions>, device: Device) {
  return {
    device,
    precision: device.precision,
    cacheDir: defaultCacheDir(),
    batchSize: options.batchSize ?? device.batchSize,
    limit: options.limit,
    maxPixels: options.maxPixels ?? MAX_PIXELS,
    fields: options.fields,
    stdin: options.stdin,
    kept: options.kept,
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

export function reconRequest(options: Given<ReconstructionOptions>, device = chosen(options)): ReconRequest {
  return {
    ...common(options, device),
    source: options.source,
    model: options.model ?? 'nano',
    metrics: options.metrics ?? [...RECON_METRICS],
    transform: options.transform,
    decoderPrecision: choosePrecision('--decoder-precision', options.decoderPrecision ?? 'fp32', device.kind),
    network: network(options, device),
    protocolBatch: options.protocolBatch ?? 32,
    checkpointSeconds: options.checkpointSeconds ?? 60,
    out: options.out,
    saveImages: options.saveImages ?? false,
    overwrite: options.overwrite,
  }
}

/** A labelled dataset through a model that ranks classes. */
export interface ClassifyOptions extends EvaluationOptions {
  source: string
  /** Default `nano`. */
  model?: string
  transform?: string
}

export interface ZeroShotOptions extends ClassifyOptions {
  /** A file with one name per line; default the 1,000 of ImageNet. */
  classnames?: string
  /** A file with one template per line, `{c}` for the name; default the 80 of OpenCLIP. */
  templates?: string
}

/** `stateDir`: folder for what a later run continues from; the cache otherwise. */
export function classifyRequest(
  options: Given<ClassifyOptions & { stateDir?: string }>,
  device = chosen(options),
): ClassifyRequest {
  const { source, model = 'nano', transform, stateDir, checkpointSeconds = 60 } = options
  return { ...common(options, device), source, model, transform, stateDir, checkpointSeconds }
}

export function zeroshotRequest(
  options: Given<ZeroShotOptions & { stateDir?: string }>,
  device = chosen(options),
): ZeroshotRequest {
  const { classnames, templates } = options
  return { ...classifyRequest(options, device), classnames, templates }
}

/** Ridge probes on the latents, and on CLS with the mean patch. */
export function ridgeRequest(
  options: Given<ClassifyOptions & { train: string }>,
  device = chosen(options),
): RidgeRequest {
  const { source, train, model = 'nano', transform } = options
  return { ...common(options, device), source, train, model, transform }
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

/** The script's batch: it is part of the protocol here, not a matter of speed. */
const PROBE_BATCH = 128

export function probeRequest(options: Given<ProbeOptions>, device = chosen(options)): ProbeRequest {
  const { onImages, ...rest } = common({ ...options, batchSize: options.batchSize ?? PROBE_BATCH }, device)
  return {
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
  }
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

/** What `vtp fid` and `vtp eval-gen` may ask for besides. */
export type SetOptions = Given<Omit<FidOptions, 'samples'>> &
  Pick<CompareRequest, 'lists' | 'saveStats'> & {
    /** May be absent when only the reference's statistics are wanted. */
    samples?: string
  }

export function fidRequest(options: SetOptions, device = chosen(options)): CompareRequest {
  return {
    ...common(options, device),
    a: options.reference,
    b: options.samples,
    lists: options.lists,
    saveStats: options.saveStats,
    metrics: options.metrics ?? ['fid'],
    flavour: options.flavour ?? 'pytorch-fid',
    dims: options.dims ?? 2048,
    network: network(options, device),
    checkpointSeconds: options.checkpointSeconds ?? 60,
    seed: options.seed ?? 0,
    kid: options.kid ?? { subsets: 100, subsetSize: 1000 },
    neighbour: options.neighbour ?? 3,
    prImages: options.prImages ?? 50_000,
  }
}
