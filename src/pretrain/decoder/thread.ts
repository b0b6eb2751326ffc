/** The thread that trains a decoder (decoder-worker.ts), seen from the job. */
import type { GanBatch, GanLog, GanResult } from '../gan.js'
import type { PerceptualOptions } from '../perceptual.js'
import { openTrainingThread } from '../training-thread.js'
import type { DecoderRecipe } from './recipe.js'
import type { DecoderPlace } from './start.js'

export interface DecoderThreadData extends PerceptualOptions {
  recipe: DecoderRecipe
  place: Omit<DecoderPlace, 'disc'>
  /** Shape of a batch of latents. */
  latents: [number, number, number, number]
  threads: number
}

export type DecoderThreadRequest =
  | { type: 'step'; batch: GanBatch; step: number }
  | { type: 'write'; folder: string; note: object }

export type DecoderThreadReply = Omit<GanResult, 'image'> | undefined

export interface DecoderThread {
  /** One step, counted from 0. */
  step(batch: GanBatch, step: number): Promise<{ log: GanLog; seconds: GanResult['seconds'] }>
  /** Writes a checkpoint of the state as it is between steps. */
  write(folder: string, note: object): Promise<void>
  close(): Promise<void>
}

/** Throws VtpErrors `engine_open_failed`, and those of the start. */
export async function openDecoderThread(data: DecoderThreadData): Promise<DecoderThread> {
  const thread = await openTrainingThread<DecoderThreadRequest, DecoderThreadReply, DecoderThreadData>(
    'pretrain/decoder/decoder-worker',
    data,
  )
  return {
    async step(batch, step) {
      const buffers = [batch.latents.buffer as ArrayBuffer, batch.target.buffer as ArrayBuffer]
      return (await thread.call({ type: 'step', batch, step }, buffers))!
    },
    async write(folder, note) {
      await thread.call({ type: 'write', folder, note })
    },
    close: () => thread.close(),
  }
}
