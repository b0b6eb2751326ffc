/** A worker thread that computes PSNR and SSIM of pairs, so that the thread that schedules never does. */
import { MessageChannel, parentPort } from 'node:worker_threads'
import { errorText } from '../../errors.js'
import { psnr } from './psnr.js'
import type { ScoreReply, ScoreRequest } from './score-pool.js'
import { ssim } from './ssim.js'

function score({ reference, reconstruction, count, height, width, metrics }: ScoreRequest): ScoreReply['scores'] {
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

// What is sent to a port without a partner is freed at once; collection would leave a hundred megabytes lying.
const { port1: nowhere, port2 } = new MessageChannel()
port2.close()
nowhere.unref()

parentPort!.on('message', (request: ScoreRequest & { id: number }) => {
  const { id } = request
  let reply: ScoreReply
  try {
    reply = { id, scores: score(request) }
  } catch (error) {
    reply = { id, scores: [], failed: errorText(error) }
  }
  parentPort!.postMessage(reply)
  nowhere.postMessage(undefined, [request.reference.buffer, request.reconstruction.buffer] as ArrayBuffer[])
})
