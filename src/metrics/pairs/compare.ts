/** One batch of pairs through the graph of networks/lpips.ts, and the scores of each pair, in float64. */
import type { Session, TensorValue } from '../../engine/session.js'
import { LPIPS_LAYERS } from '../networks/lpips.js'
import { psnr } from './psnr.js'
import { ssim } from './ssim.js'

export interface PairMetrics {
  psnr: boolean
  ssim: boolean
  lpips: boolean
}

/** Scores of one pair; what was not asked for is undefined. */
export interface PairScores {
  /** dB; infinite for identical images. */
  psnr?: number
  ssim?: number
  lpips?: number
}

export interface PairBatch {
  /** The preprocessed originals, uint8 [N, H, W, 3]. */
  pixels: Uint8Array
  /** The decoder's output, float32 [N, 3, H, W], normalised. */
  image: Float32Array
  count: number
  height: number
  width: number
  metrics: PairMetrics
}

export interface ComparedBatch {
  scores: PairScores[]
  /** uint8 [N, H, W, 3], as the official script saves them. */
  reference: Uint8Array
  reconstruction: Uint8Array
}

/** VGG's maps at full resolution take 17 MB per image of 256²: few pairs at a time are enough to be fast. */
const PAIRS_PER_RUN = 2

/** Compares pairs; `session` is `openPairs`'s. A pair's scores do not depend on the others. */
export async function comparePairs(session: Session, batch: PairBatch): Promise<ComparedBatch> {
  const { count, height, width, metrics } = batch
  const size = height * width * 3
  const scores: PairScores[] = []
  const reference = new Uint8Array(count * size)
  const reconstruction = new Uint8Array(count * size)
  const layers = metrics.lpips ? Array.from({ length: LPIPS_LAYERS }, (_, k) => `lpips.${k}`) : []
  const floats = metrics.psnr || metrics.ssim ? ['reference', 'reconstruction'] : []
  const fetches = ['reference_u8', 'reconstruction_u8', ...floats, ...layers]
  const runs: { start: number; end: number; outputs: Promise<Record<string, TensorValue>> }[] = []
  for (let start = 0; start < count; start += PAIRS_PER_RUN) {
    const end = Math.min(start + PAIRS_PER_RUN, count)
    const inputs = {
      pixels: {
        data: batch.pixels.slice(start * size, end * size),
        dtype: 'uint8',
        dims: [end - start, height, width, 3],
      },
      image: {
        data: batch.image.slice(start * size, end * size),
        dtype: 'float32',
        dims: [end - start, 3, height, width],
      },
    }
    runs.push({ start, end, outputs: session.run(inputs, fetches).then((result) => result.outputs) })
  }
  for (const { start, end, outputs: running } of runs) {
    const outputs = await running
    reference.set(outputs.reference_u8!.data as Uint8Array, start * size)
    reconstruction.set(outputs.reconstruction_u8!.data as Uint8Array, start * size)
    for (let i = 0; i < end - start; i++) {
      const of = (name: string): Float32Array => {
        const data = outputs[name]!.data as Float32Array
        return data.subarray((i * data.length) / (end - start), ((i + 1) * data.length) / (end - start))
      }
      const score: PairScores = {}
      if (metrics.psnr) score.psnr = psnr(of('reference'), of('reconstruction'))
      if (metrics.ssim) score.ssim = ssim(of('reference'), of('reconstruction'), 3, height, width)
      if (metrics.lpips) score.lpips = layers.reduce((sum, name) => sum + mean(of(name)), 0)
      scores.push(score)
    }
  }
  return { scores, reference, reconstruction }
}

function mean(values: Float32Array): number {
  let sum = 0
  for (let i = 0; i < values.length; i++) sum += values[i]!
  return sum / values.length
}
