/** One batch of pairs through the graph of networks/lpips.ts, and the scores of each pair, in float64, by other threads. */
import type { Session, TensorValue } from '../../engine/session.js'
import { LPIPS_LAYERS } from '../../model/networks.js'
import type { PairScore, ScorePool } from './score-pool.js'
import type { PairMetrics, PairScores } from './scores.js'
import { assertSsimSize } from './ssim.js'

export interface PairBatch {
  /** The preprocessed originals, [N, H, W, 3]; floats are in 0…1. */
  pixels: Uint8Array | Float32Array
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

/** Compares pairs; `session` is `openPairs`'s. A pair's scores do not depend on the others. Throws VtpError `image_too_small`. */
export async function comparePairs(session: Session, pool: ScorePool, batch: PairBatch): Promise<ComparedBatch> {
  const { count, height, width, metrics } = batch
  if (metrics.ssim) assertSsimSize(height, width)
  const size = height * width * 3
  const reference = new Uint8Array(count * size)
  const reconstruction = new Uint8Array(count * size)
  const layers = metrics.lpips ? Array.from({ length: LPIPS_LAYERS }, (_, k) => `lpips.${k}`) : []
  const floats = metrics.psnr || metrics.ssim ? ['reference', 'reconstruction'] : []
  const fetches = ['reference_u8', 'reconstruction_u8', ...floats, ...layers]
  const scorePixels = async (outputs: Record<string, TensorValue>, pairs: number): Promise<PairScore[]> => {
    if (floats.length === 0) return []
    const [a, b] = floats.map((name) => outputs[name]!.data as Float32Array) as [Float32Array, Float32Array]
    return pool.run({ reference: a, reconstruction: b, count: pairs, height, width, metrics })
  }
  const runPairs = async (start: number, end: number): Promise<PairScores[]> => {
    const part = (data: Uint8Array | Float32Array) => data.slice(start * size, end * size)
    const inputs = {
      pixels: {
        data: part(batch.pixels),
        dtype: batch.pixels instanceof Float32Array ? 'float32' : 'uint8',
        dims: [end - start, height, width, 3],
      },
      image: { data: part(batch.image), dtype: 'float32', dims: [end - start, 3, height, width] },
    }
    const { outputs } = await session.run(inputs, fetches)
    reference.set(outputs.reference_u8!.data as Uint8Array, start * size)
    reconstruction.set(outputs.reconstruction_u8!.data as Uint8Array, start * size)
    const scored = await scorePixels(outputs, end - start)
    return Array.from({ length: end - start }, (_, i): PairScores => {
      const of = (name: string): Float32Array => {
        const data = outputs[name]!.data as Float32Array
        return data.subarray((i * data.length) / (end - start), ((i + 1) * data.length) / (end - start))
      }
      const lpips = metrics.lpips ? { lpips: layers.reduce((sum, name) => sum + mean(of(name)), 0) } : {}
      return { ...scored[i], ...lpips }
    })
  }
  const runs: Promise<PairScores[]>[] = []
  for (let start = 0; start < count; start += PAIRS_PER_RUN)
    runs.push(runPairs(start, Math.min(start + PAIRS_PER_RUN, count)))
  return { scores: (await Promise.all(runs)).flat(), reference, reconstruction }
}

function mean(values: Float32Array): number {
  let sum = 0
  for (let i = 0; i < values.length; i++) sum += values[i]!
  return sum / values.length
}
