/** The thread that pre-trains (joint-worker.ts), seen from the job. */
import type { CheckpointOptions } from './checkpoint.js'
import type { JointBatch, JointResult } from './joint.js'
import type { PretrainRecipe } from './recipe.js'
import type { StartPlace } from './start.js'
import type { Shapes } from './state.js'
import { openTrainingThread } from './training-thread.js'

export interface JointThreadData {
  recipe: PretrainRecipe
  start: StartPlace
  /** Shapes of a batch's tensors. */
  shapes: Shapes
  threads: number
  /** Folder with the weights of LPIPS. */
  weights?: string
  cacheDir: string
}

export type JointRequest =
  | { type: 'step'; batch: JointBatch; iteration: number }
  | ({ type: 'write'; folder: string } & CheckpointOptions)

export type JointReply = JointResult | undefined

export interface JointThread {
  step(batch: JointBatch, iteration: number): Promise<JointResult>
  /** Writes a checkpoint of the state as it is between steps. */
  write(folder: string, options: CheckpointOptions): Promise<void>
  close(): Promise<void>
}

/** Throws VtpErrors `engine_open_failed`, and those of the start. */
export async function openJointThread(data: JointThreadData): Promise<JointThread> {
  const thread = await openTrainingThread<JointRequest, JointReply, JointThreadData>('pretrain/joint-worker', data)
  return {
    async step(batch, iteration) {
      const buffers = [...batch.values()].map(({ data }) => data.buffer as ArrayBuffer)
      return (await thread.call({ type: 'step', batch, iteration }, buffers))!
    },
    async write(folder, options) {
      await thread.call({ type: 'write', folder, ...options })
    },
    close: () => thread.close(),
  }
}
