/** A worker thread that computes PSNR and SSIM of pairs, so that the thread that schedules never does. */
import { freeBuffers, serveThread } from '../../async/serve-thread.js'
import { psnr } from './psnr.js'
import type { PairScore, ScoreRequest } from './score-pool.js'
import { ssim } from './ssim.js'

function score({ reference, reconstruction, count, height, width, metrics }: ScoreRequest): PairScore[] {
  const size = reference.length / count
  return Array.from({ length: count }, (_, i) => {
    const [a, b] = [reference, reconstruction].map((side) => side.subarray(i * size, (i + 1) * size)) as [
      Float32Array,
      Float32Array,
    ]
    return {
      ...(metrics.psnr ? { psnr: psnr(a, b) } : {}),
      ...(metrics.ssim ? { ssim: ssim(a, b, 3, height, width) } : {}),
    }
  })
}

serveThread<ScoreRequest, PairScore[]>({
  handle(request) {
    try {
      return { reply: score(request) }
    } finally {
      freeBuffers([request.reference.buffer, request.reconstruction.buffer])
    }
  },
})
