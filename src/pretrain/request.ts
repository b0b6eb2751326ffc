/** What a pre-training is asked for, what it tells, and what it answers. */
import type { Device } from '../engine/device.js'
import type { FieldNames } from '../io/sources/options.js'
import type { LoopRecord } from '../train/loop.js'
import type { TrainProgress } from '../train/progress.js'
import type { CaptionOptions } from './captions.js'
import type { Export } from './checkpoint.js'
import type { Judged, JudgeOptions } from './judge.js'

export interface PretrainRequest extends CaptionOptions {
  source: string
  recipe: string
  /** `KEY=VALUE` of the recipe each. */
  settings: readonly string[]
  /** Number of the last step; default: the recipe's. */
  steps?: number
  seed: number
  dest: string
  /** A folder to begin from: a published model, or a checkpoint of an earlier pre-training. */
  init?: string
  exported: Export
  /** Folder with the weights of LPIPS. */
  weights?: string
  limit?: number
  fields?: FieldNames
  maxPixels: number
  stdin?: AsyncIterable<Uint8Array>
  /** Preprocessing threads. */
  workers: number
  /** Of the engine; they change no bit of the result. */
  threads: number
  /** Of sheets and evaluations. */
  device: Device
  cacheDir: string
  overwrite: boolean
  /** Default: the recipe's, else 1000. */
  saveEvery?: number
  keep?: number
  checkpointSeconds?: number
  /** Steps between sheets of reconstructions and of patch tokens. */
  samplesEvery?: number
  evalEvery?: number
  evaluation?: JudgeOptions
  stop?: AbortSignal
  onNote?: (line: string) => void
  onStart?: (info: PretrainInfo) => void
  onProgress?: (progress: TrainProgress) => void
}

export interface PretrainInfo {
  parameters: number
  images: number
  /** Images of a step by branch. */
  batch: { clip: number; ssl: number; rec: number }
  captions: string | undefined
  step: number
  steps: number
  resumed: boolean
}

/** A line of log.jsonl. */
export interface PretrainRecord extends LoopRecord, Partial<Judged> {
  /** The schedules' number of the step. */
  iteration: number
  grad_norm: number
  /** Images that were replaced because they could not be read; absent for none. */
  replaced?: number
  protocol?: string
  [loss: string]: unknown
}

export interface PretrainResult {
  step: number
  steps: number
  newSteps: number
  /** Images that were taken in, over all branches of a step once. */
  images: number
  /** Images that were replaced in these steps, by code. */
  rejects: Record<string, number>
  seconds: number
  total: number | null
  evaluation: Judged | null
  checkpoint: string | null
  parameters: number
  alarms: string[]
  interrupted: boolean
  complete: boolean
}
