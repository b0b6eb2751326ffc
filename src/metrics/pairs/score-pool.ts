/** Threads that compute PSNR and SSIM (score-worker.ts). The numbers do not depend on how many there are. */
import { openThread } from '../../async/thread.js'
import { workerUrl } from '../../async/worker-url.js'
import { VtpError } from '../../errors.js'
import type { PairMetrics, PairScores } from './scores.js'

export interface ScoreRequest {
  /** Both float32 [count, 3, height, width] in 0…1; they are transferred away. */
  reference: Float32Array
  reconstruction: Float32Array
  count: number
  height: number
  width: number
  metrics: PairMetrics
}

export type PairScore = Pick<PairScores, 'psnr' | 'ssim'>

export interface ScorePool {
  /** One score per pair. Throws VtpError `scores_failed`. */
  run(request: ScoreRequest): Promise<PairScore[]>
  close(): Promise<void>
}

export function openScorePool(threads: number): ScorePool {
  const url = workerUrl('metrics/pairs/score-worker')
  const failed = (why: string): VtpError =>
    new VtpError(`PSNR and SSIM could not be computed: ${why}`, { code: 'scores_failed' })
  const members = Array.from({ length: threads }, () =>
    openThread<ScoreRequest, PairScore[]>(url, { data: undefined, failed }),
  )
  return {
    run(request) {
      const idlest = members.reduce((best, one) => (one.waiting < best.waiting ? one : best))
      const { reference, reconstruction } = request
      return idlest.call(request, [reference.buffer, reconstruction.buffer] as ArrayBuffer[])
    },
    close: async () => void (await Promise.all(members.map((member) => member.terminate()))),
  }
}
