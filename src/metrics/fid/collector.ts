/**
 * Images in, statistics out: runs Inception over batches of pixels and accumulates what the wanted
 * metrics need. One collector per set; nothing grows with the set but the temporary files of KID,
 * precision/recall and Inception Score.
 */
import type { TensorValue } from '../../engine/session.js'
import { resizeForCleanFid } from '../../image/resize-float.js'
import type { MatrixProducts } from '../linalg/matmul.js'
import { type FidDims, type FidFlavour, INCEPTION_SIZE } from '../networks/inception.js'
import type { OpenNetwork } from '../networks/open.js'
import { createFeatureFile, type FeatureFile } from './feature-file.js'
import { createMoments, type FeatureMoments, type FeatureStats, type MomentsState } from './moments.js'

/** Images of one size: uint8 [count, height, width, 3]. */
export interface PixelBatch {
  data: Uint8Array
  count: number
  height: number
  width: number
}

export interface CollectorOptions {
  flavour: FidFlavour
  dims: FidDims
  /** Statistics for sFID; the network must have been opened with `spatial`. */
  spatial?: boolean
  /** Keep features, for KID and precision/recall. */
  keepFeatures?: boolean
  /** Keep logits, for Inception Score; the network must have been opened with `logits`. */
  keepLogits?: boolean
  /** To continue an interrupted set. */
  from?: CollectorState
}

export interface CollectorState {
  pool: MomentsState
  spatial?: MomentsState
}

/** What is known of a set of images. */
export interface SetStats {
  pool: FeatureStats
  spatial?: FeatureStats
  features?: FeatureFile
  logits?: FeatureFile
}

export interface Collector {
  readonly count: number
  add(batch: PixelBatch): Promise<void>
  state(): Promise<CollectorState>
  finish(): Promise<SetStats>
  /** Removes temporary files. */
  close(): Promise<void>
}

export const SPATIAL_DIMS = 2023

export async function createCollector(
  network: OpenNetwork,
  products: MatrixProducts,
  options: CollectorOptions,
): Promise<Collector> {
  const { flavour, dims, from } = options
  const pool = createMoments(dims, products, from?.pool)
  const spatial: FeatureMoments | undefined = options.spatial
    ? createMoments(SPATIAL_DIMS, products, from?.spatial)
    : undefined
  const features = options.keepFeatures ? await createFeatureFile(dims) : undefined
  const logits = options.keepLogits ? await createFeatureFile(1008) : undefined
  const poolName = `pool${dims}`
  const fetches = [poolName, ...(spatial ? ['spatial'] : []), ...(logits ? ['logits'] : [])]
  return {
    get count() {
      return pool.count
    },
    async add(batch) {
      const { outputs } = await network.session.run(inceptionInput(batch, flavour), fetches)
      const rows = outputs[poolName]!.data as Float32Array
      await pool.add(rows)
      await features?.append(rows)
      if (spatial) await spatial.add(outputs.spatial!.data as Float32Array)
      if (logits) await logits.append(outputs.logits!.data as Float32Array)
    },
    state: async () => ({ pool: await pool.state(), ...(spatial ? { spatial: await spatial.state() } : {}) }),
    finish: async () => ({
      pool: await pool.finish(),
      ...(spatial ? { spatial: await spatial.finish() } : {}),
      features,
      logits,
    }),
    async close() {
      await features?.close()
      await logits?.close()
    },
  }
}

/** The network's input for a batch; pixels are copied, because a run takes its input away. */
export function inceptionInput(
  { data, count, height, width }: PixelBatch,
  flavour: FidFlavour,
): Record<string, TensorValue> {
  if (flavour !== 'clean-fid')
    // Not slice(): that of a Buffer copies nothing.
    return { pixels: { data: new Uint8Array(data), dtype: 'uint8', dims: [count, height, width, 3] } }
  const size = 3 * INCEPTION_SIZE * INCEPTION_SIZE
  const image = new Float32Array(count * size)
  const bytes = height * width * 3
  for (let i = 0; i < count; i++) {
    const one = { data: data.subarray(i * bytes, (i + 1) * bytes), height, width }
    image.set(resizeForCleanFid(one, INCEPTION_SIZE), i * size)
  }
  return { image: { data: image, dtype: 'float32', dims: [count, 3, INCEPTION_SIZE, INCEPTION_SIZE] } }
}
