/** Threads that compute PSNR and SSIM (score-worker.ts). The numbers do not depend on how many there are. */
import { Worker } from 'node:worker_threads'
import { SMALL_HEAP, workerUrl } from '../../async/worker-url.js'
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

/** One entry of `scores` per pair, unless the thread failed. */
export interface ScoreReply {
  id: number
  scores: Pick<PairScores, 'psnr' | 'ssim'>[]
  failed?: string
}

export interface ScorePool {
  run(request: ScoreRequest): Promise<ScoreReply['scores']>
  close(): Promise<void>
}

interface Waiter {
  resolve(scores: ScoreReply['scores']): void
  reject(error: unknown): void
}

export function openScorePool(threads: number): ScorePool {
  let nextId = 0
  const open = () => {
    const worker = new Worker(workerUrl(import.meta.url, './score-worker.js'), { resourceLimits: SMALL_HEAP })
    const waiting = new Map<number, Waiter>()
    const failure = (why: string): VtpError =>
      new VtpError(`PSNR and SSIM could not be computed: ${why}`, { code: 'scores_failed' })
    worker.on('message', ({ id, scores, failed }: ScoreReply) => {
      const waiter = waiting.get(id)
      waiting.delete(id)
      if (failed === undefined) waiter?.resolve(scores)
      else waiter?.reject(failure(failed))
    })
    worker.on('error', (error) => {
      for (const waiter of waiting.values()) waiter.reject(failure(error.message))
      waiting.clear()
    })
    return { worker, waiting }
  }
  const members = Array.from({ length: threads }, open)
  return {
    run(request) {
      const id = nextId++
      const { worker, waiting } = members.reduce((best, one) => (one.waiting.size < best.waiting.size ? one : best))
      const transfer = [request.reference.buffer, request.reconstruction.buffer] as ArrayBuffer[]
      return new Promise((resolve, reject) => {
        waiting.set(id, { resolve, reject })
        worker.postMessage({ ...request, id }, transfer)
      })
    },
    close: async () => void (await Promise.all(members.map(({ worker }) => worker.terminate()))),
  }
}
