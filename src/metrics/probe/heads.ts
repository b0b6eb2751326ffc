/**
 * The grid of linear heads (tools/test_linear_probing_hf.py, setup_linear_classifiers): for each number of
 * last blocks and each learning rate one linear layer on the concatenated CLS tokens and, by default,
 * the mean of the last block's patch tokens. Rates are scaled by batch / 256.
 *
 * The script names heads by their scaled rate with five decimals; of heads with one name the last
 * survives, so small rates collapse. The default grid does the same; `distinct` keeps all.
 */
import { createRandom } from '../../math/random.js'

export const LEARNING_RATES = [1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1]

/** Numbers of last blocks that the script's heads read; each also reads the mean of the patches. */
export const SCRIPT_BLOCKS: readonly number[] = [1, 4]

export interface Head {
  /** As the script names it, e.g. `classifier_1_blocks_avgpool_True_lr_0_00250`. */
  name: string
  blocks: number
  avgpool: boolean
  /** Scaled by batch / 256. */
  rate: number
}

/** Heads that read the same features: trained as one matrix. */
export interface HeadGroup {
  blocks: number
  avgpool: boolean
  heads: Head[]
}

export interface GridOptions {
  blocks: number[]
  avgpool: boolean[]
  rates: number[]
  batchSize: number
  /** Keep heads whose names would collide. */
  distinct?: boolean
}

export function headGrid({ blocks, avgpool, rates, batchSize, distinct }: GridOptions): HeadGroup[] {
  const groups: HeadGroup[] = []
  for (const n of blocks) {
    for (const pool of avgpool) {
      const heads = new Map<string, Head>()
      for (const rate of rates) {
        const scaled = (rate * batchSize) / 256
        const shown = distinct ? scaled.toPrecision(6) : scaled.toFixed(5)
        const name = `classifier_${n}_blocks_avgpool_${pool ? 'True' : 'False'}_lr_${shown}`.replaceAll('.', '_')
        heads.set(name, { name, blocks: n, avgpool: pool, rate: scaled })
      }
      groups.push({ blocks: n, avgpool: pool, heads: [...heads.values()] })
    }
  }
  return groups
}

/** Cosine annealing to 0 over `total` steps, one step per iteration (torch's CosineAnnealingLR). */
export function cosineRate(rate: number, step: number, total: number): number {
  return (rate * (1 + Math.cos((Math.PI * step) / total))) / 2
}

/** Normal weights of deviation 0.01, as the script initialises; ours by our own generator. */
export function initialWeights(count: number, seed: number): Float32Array {
  const random = createRandom(seed)
  const out = new Float32Array(count)
  for (let i = 0; i < count; i++) out[i] = random.normal() * 0.01
  return out
}
