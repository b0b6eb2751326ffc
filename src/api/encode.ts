/**
 * Encoding for programs and for the command line: options with defaults → the request of the batch engine → what
 * came of it. The defaults are those of `vtp encode --help`.
 */
import { chooseDevice } from '../engine/choose-device.js'
import type { Device } from '../engine/device.js'
import { processorKind } from '../engine/processor.js'
import { planThreads } from '../engine/threads.js'
import { usageError } from '../errors.js'
import type { SourceOptions } from '../io/sources/index.js'
import type { EncodeResult } from '../pipeline/encode.js'
import { runEncode } from '../pipeline/encode.js'
import type { EncodeRequest, RunInfo } from '../pipeline/encode-request.js'
import { listingFacts } from '../pipeline/ledger/plan.js'
import type { PlanRequest } from '../pipeline/ledger/plan-request.js'
import type { Output } from '../pipeline/outputs.js'
import type { ProgressSnapshot } from '../pipeline/stream/meter.js'
import type { RunEvent } from '../pipeline/stream/run-events.js'
import type { PassedOver, RejectCode, SourceNote } from '../types.js'

/** What decides the plan of a run, and with it every byte of the shards. */
export interface PlanOptions {
  /** A folder, a list (`.txt`, `.jsonl`), tar shards, Parquet files, or any of them under `s3://bucket/`. */
  source: string
  /** A folder or `s3://bucket/prefix`. Running again with the same options continues what is there. */
  out: string
  /** A folder, a hub id such as `MiniMaxAI/VTP-Large-f16d64`, or `nano`, the bundled one (the default). */
  model?: string
  /** What to write; default `['latents']`. All of them leave one pass of the model. */
  outputs?: Output[]
  /** Blocks for the output `layers`: 0-based indices, or the last n. */
  layers?: number[] | { last: number }
  /** Whether the model's final norm is applied to the layers; default true. */
  layersNorm?: boolean
  /** Add the outputs of the mirrored image, in columns with the suffix `_flip`; on by default for safetensors. */
  flip?: boolean
  /** Of a model that gives a distribution (VA-VAE): its `mean` (the default), or a `sample` by `seed` and key. */
  latents?: 'mean' | 'sample'
  /** Of `latents: 'sample'`; default 0. */
  seed?: number
  /** Default `arrow`. */
  format?: PlanRequest['format']
  /** Default `float16`, and `float32` for safetensors. */
  dtype?: 'float16' | 'float32'
  /** Preprocessing, e.g. `adm-crop(256)`; default a resize to the model's size. */
  transform?: string
  /** Side, or height and width, of the model's input; default the checkpoint's. */
  imageSize?: number | { height: number; width: number }
  /** Images per shard, and per unit of work; default 10,000. */
  shardRows?: number
  /** Delete the output of another run in `out`. */
  overwrite?: boolean
  /** How the source is read, beyond its address. */
  sourceOptions?: SourceOptions
  /** The source is lines of text, of which the CLIP embeddings are wanted. */
  texts?: boolean
  /** Add the embeddings of captions where the source has them. */
  captionsToo?: boolean
}

export interface EncodeOptions extends PlanOptions {
  /** `auto` (the default), `cpu`, `cuda` or `cuda:1`. */
  device?: string
  /** `auto` (the default), `fp32`, `fp16`, `bf16` or `int8`. */
  precision?: string
  /** Fail instead of using the CPU. */
  requireGpu?: boolean
  /** Images per pass of the model. It does not change the output. */
  batchSize?: number
  /** Preprocessing threads; default one per core. */
  workers?: number
  /** Which of how many workers this is; default the only one. */
  worker?: { index: number; count: number }
  /** Work on these units only. */
  units?: number[]
  /** With several workers: take units of others when the own ones are done; default true. */
  helpOthers?: boolean
  /** How often the finished part of an open unit is kept, for an interrupted run to take up; default 10, 0 after every batch. */
  checkpointSeconds?: number
  /** Refuse to work on a run that another kind of processor has begun. */
  sameProcessor?: boolean
  /** Try rejected images of committed units again. */
  retryRejects?: boolean
  /** Images with more pixels become rejects; default 100 million. */
  maxPixels?: number
  /** Stops cleanly when it is aborted: the batches in flight are finished, and a later call continues. */
  signal?: AbortSignal
  /** Lines for people. */
  onNote?: (line: string) => void
  onStart?: (info: RunInfo) => void
  onProgress?: (snapshot: ProgressSnapshot) => void
  onEvent?: (event: RunEvent) => void
}

/** What came of a run; also the stable object of `vtp encode --json`. */
export interface EncodeSummary {
  /** Images that are rows of `out`, those of earlier calls included. */
  images: number
  /** Images that became no row, those of earlier calls included. */
  rejects: number
  /** The same by reason; reasons without an image are absent. */
  rejectsByCode: Partial<Record<RejectCode, number>>
  /** Committed units, and those of the plan. */
  units: number
  unitsTotal: number
  bytes: number
  seconds: number
  imagesPerSecond: number
  bottleneck: string | null
  device: string
  precision: string
  out: string
  /** Rows that this call has written. */
  newImages: number
  /** Every unit is committed, and the manifest is written. */
  complete: boolean
  interrupted: boolean
  /** Images that an earlier, interrupted call had finished and this one took up. */
  resumedImages: number
  /** Finished images of the unit that was open at the end: the next call takes them up. */
  keptImages: number
  peakMemoryBytes: number
  /** Classes of the labels; null where they have no names. */
  classes: number | null
  /** Files, members and the like that were seen and not taken. */
  passedOver: PassedOver
  /** What else the listing had to tell: labels that were lost, fields left out. */
  notes: SourceNote[]
}

export const MAX_PIXELS = 100_000_000

/** The part of a request that decides the plan. */
export function planRequest(options: PlanOptions, device: Pick<Device, 'kind' | 'precision'>): PlanRequest {
  const { imageSize, format = 'arrow', outputs = ['latents'], layers } = options
  if (layers !== undefined && !outputs.includes('layers')) {
    throw usageError('bad_layers', '--layers chooses blocks for the output "layers", which is not asked for', [
      `add it: --outputs ${[...outputs, 'layers'].join(',')}`,
      'or leave --layers out',
    ])
  }
  return {
    source: options.source,
    sourceOptions: options.sourceOptions,
    dest: options.out,
    model: options.model ?? 'nano',
    outputs,
    texts: options.texts,
    captionsToo: options.captionsToo,
    layers,
    layersNorm: options.layersNorm ?? true,
    ...(options.latents === 'sample' ? { sampleSeed: options.seed ?? 0 } : {}),
    flip: options.flip ?? format === 'safetensors',
    format,
    dtype: options.dtype ?? (format === 'safetensors' ? 'float32' : 'float16'),
    transform: options.transform,
    imageSize: typeof imageSize === 'number' ? { height: imageSize, width: imageSize } : imageSize,
    shardRows: options.shardRows ?? 10_000,
    precision: device.precision,
    device: device.kind,
    overwrite: options.overwrite,
  }
}

export interface EncodeJob {
  request: EncodeRequest
  device: Device
  /** What the listing had to tell, once the run has begun. */
  facts?: ReturnType<typeof listingFacts>
}

/** The options as a request, on the device that they ask for. Throws usage errors. */
export function encodeJob(options: EncodeOptions): EncodeJob {
  const { device: name = 'auto', precision = 'auto', requireGpu = false, workers, batchSize, signal } = options
  const device = chooseDevice({ device: name, precision, requireGpu, autoWebGpu: true })
  const worker = options.worker ?? { index: 0, count: 1 }
  if (options.overwrite && (worker.count > 1 || options.units)) {
    throw usageError(
      'overwrite_by_workers',
      '--overwrite with several workers would delete what the others have done',
      ['run `vtp plan` with --overwrite once, then the workers without it'],
    )
  }
  const processor = processorKind()
  const request: EncodeRequest = {
    ...planRequest(options, device),
    processor,
    batchSize: batchSize ?? device.batchSize,
    fitsBatch: batchSize === undefined,
    threads: planThreads({ cores: device.cores, device: device.kind, workers }),
    engine: device,
    worker,
    units: options.units,
    helpOthers: options.helpOthers ?? true,
    checkpointSeconds: options.checkpointSeconds ?? 10,
    sameProcessor: options.sameProcessor,
    retryRejects: options.retryRejects ?? false,
    maxPixels: options.maxPixels ?? MAX_PIXELS,
    stop: signal,
    signal,
    onNote: options.onNote,
    onStart: (info) => {
      job.facts = listingFacts(info.plan)
      options.onStart?.(info)
    },
    onProgress: options.onProgress,
    onEvent: options.onEvent,
  }
  const job: EncodeJob = { request, device }
  return job
}

const round = (value: number): number => Number(value.toFixed(3))

export function encodeSummary(result: EncodeResult, { request, device, facts }: EncodeJob): EncodeSummary {
  return {
    images: result.rows,
    rejects: result.rejects,
    rejectsByCode: result.rejectsByCode,
    units: result.unitsDone,
    bytes: result.bytes,
    seconds: round(result.seconds),
    imagesPerSecond: round(result.imagesPerSecond),
    bottleneck: result.bottleneck,
    device: device.kind,
    precision: device.precision,
    out: request.dest,
    newImages: result.newRows,
    unitsTotal: result.unitsTotal,
    complete: result.complete,
    interrupted: result.interrupted,
    resumedImages: result.takenUp,
    keptImages: result.kept?.entries ?? 0,
    peakMemoryBytes: result.peakMemoryBytes,
    ...(facts ?? { classes: null, passedOver: { count: 0, examples: [] }, notes: [] }),
  }
}

/**
 * Encodes a dataset into shards: one row per image, or one reject with its reason. Images that cannot be read do
 * not throw; look at `rejects`. Throws `VtpError` for what is wrong with the options or the machine.
 */
export async function encode(options: EncodeOptions): Promise<EncodeSummary> {
  const job = encodeJob(options)
  return encodeSummary(await runEncode(job.request), job)
}

/** What `embed` takes: the outputs are given, and the default format is Parquet. */
export type EmbedOptions = Omit<
  EncodeOptions,
  'outputs' | 'layers' | 'layersNorm' | 'flip' | 'texts' | 'captionsToo'
> & {
  /** Embed captions, too, where the source has them; default true. */
  captions?: boolean
}

/** Embeds images with CLIP: unit vectors to search, compare and classify with, in the column `clip`. */
export async function embed({ captions = true, ...options }: EmbedOptions): Promise<EncodeSummary> {
  return encode({ format: 'parquet', ...options, outputs: ['clip'], captionsToo: captions })
}
