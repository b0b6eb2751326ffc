/** What a stage of the decoder is asked for, what it tells, and what it answers. */
import type { LoopRecord } from '../../train/loop.js'
import type { Best, Judged } from '../judge.js'
import type { StageRequest } from '../stage-request.js'

export interface DecoderRequest extends StageRequest {
  /** The model whose decoder is trained: a folder, a hub id or `nano`. */
  init: string
  /** Shards of `vtp encode` over SOURCE; default: they are made in DEST. */
  latents?: string
  onStart?: (info: DecoderInfo) => void
  /** While latents are made. */
  onEncode?: (done: number, total: number | null) => void
}

export interface DecoderInfo {
  /** Trained ones of the decoder, and of the discriminator. */
  parameters: { decoder: number; discriminator: number }
  /** Pairs of latents and pixels. */
  rows: number
  batch: number
  /** Side of the images, in pixels. */
  size: number
  discStart: number
  /** What --init does on the held-out images; null where none are judged. */
  before: Judged | null
  step: number
  steps: number
  resumed: boolean
}

/** A line of log.jsonl. */
export interface DecoderRecord extends LoopRecord, Partial<Judged> {
  grad_norm: number
  d_grad_norm: number
  lr: number
  protocol?: string
  [loss: string]: unknown
}

export interface DecoderResult {
  step: number
  steps: number
  newSteps: number
  /** Images that were taken in by these steps. */
  images: number
  /** Images that became no latents, by code. */
  rejects: Record<string, number>
  seconds: number
  total: number | null
  /** Of --init, and of the last evaluation. */
  before: Judged | null
  evaluation: Judged | null
  best: (Best & { checkpoint: string }) | null
  checkpoint: string | null
  parameters: number
  interrupted: boolean
  complete: boolean
}
