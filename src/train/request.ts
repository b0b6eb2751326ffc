/** What a training is asked for. Values that are undefined come from the configuration, else from the defaults. */
import type { Device } from '../engine/device.js'
import type { TrainProgress } from './progress.js'
import type { EvaluationOptions, SamplingOptions } from './sampling.js'
import type { Schedule } from './schedule.js'

export interface TrainOptions {
  /** Shards of `vtp encode`: a folder, a file or `s3://bucket/prefix`; default: data.data_path of the configuration. */
  latents?: string
  /** Given batches instead. */
  replay?: string
  /** A checkpoint to begin from, or weights alone. */
  init?: string
  /** One of the reference's configurations. */
  ditConfig?: string
  /** "LightningDiT-B/1", or "256x8x4/1". */
  size?: string
  heads?: number
  numClasses?: number
  /** A file or folder of latent statistics, or `none`. */
  stats?: string
  latentMultiplier?: number
  /** Number of the last step. */
  steps?: number
  batchSize?: number
  microBatch?: number
  checkpointActivations?: boolean
  /** Of products; weights, moments and averages are float32 always. Default: fp32. */
  precision?: 'fp32' | 'fp16' | 'bf16'
  /** What the loss of an fp16 training is multiplied by; default: dynamic. */
  lossScale?: 'dynamic' | number
  /** Steps that one run of the engine takes; default: one, with CUDA as many as take 20 seconds. */
  stepsPerRun?: number
  seed?: number
  lr?: number
  schedule?: Schedule['kind']
  warmup?: number
  beta2?: number
  weightDecay?: number
  emaDecay?: number
  /** 0: no clipping. */
  maxGradNorm?: number
  cosineLoss?: boolean
  labelDropout?: number
  saveEvery?: number
  /** Newest checkpoints that are kept; default: all. */
  keep?: number
  /** How often a point to resume from is written between checkpoints. */
  checkpointSeconds?: number
  samplesEvery?: number
  evalEvery?: number
}

export interface TrainRequest extends TrainOptions {
  dest: string
  overwrite: boolean
  engine: Device
  threads: number
  cacheDir: string
  sampling: Omit<SamplingOptions, 'model' | 'seed' | 'onNote' | 'stop'> & { model?: string }
  evaluation?: EvaluationOptions
  stop?: AbortSignal
  onNote?: (line: string) => void
  onStart?: (info: TrainStart) => void
  onProgress?: (progress: TrainProgress) => void
}

export interface TrainStart {
  model: string
  parameters: number
  /** Rows of an epoch; undefined for given batches. */
  rows: number | undefined
  batch: number
  microBatch: number
  /** Steps that are done, and the last one. */
  step: number
  steps: number
  resumed: boolean
}

export interface TrainResult {
  step: number
  steps: number
  newSteps: number
  /** Images of all steps, and of those of this call. */
  images: number
  newImages: number
  seconds: number
  /** Of the last step; null where nothing was done. */
  mse: number | null
  total: number | null
  fid: number | null
  /** Name in DEST of the newest checkpoint. */
  checkpoint: string | null
  parameters: number
  interrupted: boolean
  complete: boolean
  peakMemoryBytes: number
}
