/** Where the batches of a training come from: latents with draws (latents.ts), or a file of given ones (replay.ts). */
import type { TrainBatch } from './step.js'

export interface BatchSource {
  /** [C, H, W] of a latent. */
  readonly shape: readonly [number, number, number]
  /** Samples of a batch. */
  readonly batch: number
  /** Rows of an epoch; undefined where batches are given. */
  readonly rows: number | undefined
  readonly largestLabel: number
  /** Whether there is a batch for a step (from 1). */
  has(step: number): boolean
  read(step: number): Promise<TrainBatch>
  /** Names of a batch's samples, for people. */
  keys(step: number, samples: readonly number[]): Promise<string[]>
  close(): Promise<void>
}
