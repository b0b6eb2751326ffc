/** What a pre-training is asked for, what it tells, and what it answers. */
import type { LoopRecord } from '../train/loop.js'
import type { CaptionOptions } from './captions.js'
import type { Export } from './checkpoint.js'
import type { Judged } from './judge.js'
import type { StageRequest } from './stage-request.js'

export interface PretrainRequest extends StageRequest, CaptionOptions {
  /** A folder to begin from: a published model, or a checkpoint of an earlier pre-training. */
  init?: string
  exported: Export
  stdin?: AsyncIterable<Uint8Array>
  onStart?: (info: PretrainInfo) => void
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
