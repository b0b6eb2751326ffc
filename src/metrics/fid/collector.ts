/**
 * Images in, statistics out: runs Inception over batches of pixels and accumulates what the wanted
 * metrics need. One collector per set; nothing grows with the set but the files of KID, precision/recall
 * and Inception Score.
 */
import type { TensorValue } from '../../engine/session.js'
import { ORIGINAL, type View } from '../../image/pool/views.js'
import { type FidDims, type FidFlavour, INCEPTION_SIZE } from '../../model/networks.js'
import type { MatrixProducts } from '../linalg/matmul.js'
import type { OpenNetwork } from '../networks/open.js'
import { type NumberArrays, underPrefix, withPrefix } from '../pass/checkpoint.js'
import type { FeatureFile } from './feature-file.js'
import { createMoments, type FeatureMoments, type FeatureStats, type MomentsState } from './moments.js'

/** Images of one size: uint8 [count, height, width, 3], or what `inceptionView` says. */
export interface PixelBatch {
  data: Uint8Array | Float32Array
  count: number
  height: number
  width: number
}

export interface CollectorOptions {
  dims: FidDims
  /** Statistics for sFID; the network must have been opened with `spatial`. */
  spatial?: boolean
  /** Where features are kept, for KID and precision/recall. */
  features?: FeatureFile
  /** Where logits are kept, for Inception Score; the network must have been opened with `logits`. */
  logits?: FeatureFile
  /** What `state` gave, to continue an interrupted set. */
  from?: NumberArrays
}

/** What is known of a set of images. */
export interface SetStats {
  pool: FeatureStats
  spatial?: FeatureStats
  features?: FeatureFile
  logits?: FeatureFile
}

/** The network's outputs for a batch. */
export type Features = Record<string, TensorValue>

export interface Collector {
  readonly count: number
  /** Through the network; may run while other batches are added. */
  features(batch: PixelBatch): Promise<Features>
  /** In the order of the set. Calls must not overlap. */
  add(features: Features): Promise<void>
  /** For a checkpoint; files of features and logits have their own. */
  state(): Promise<NumberArrays>
  finish(): Promise<SetStats>
}

export const SPATIAL_DIMS = 2023

export function createCollector(
  network: OpenNetwork,
  products: MatrixProducts,
  { dims, features, logits, from, ...options }: CollectorOptions,
): Collector {
  const open = (name: string, width: number): FeatureMoments =>
    createMoments(width, products, underPrefix(name, from) as MomentsState | undefined)
  const pool = open('pool', dims)
  const spatial = options.spatial ? open('spatial', SPATIAL_DIMS) : undefined
  const poolName = `pool${dims}`
  const fetches = [poolName, ...(spatial ? ['spatial'] : []), ...(logits ? ['logits'] : [])]
  return {
    get count() {
      return pool.count
    },
    features: async (batch) => (await network.session.run(inceptionInput(batch), fetches)).outputs,
    async add(outputs) {
      const rows = outputs[poolName]!.data as Float32Array
      await pool.add(rows)
      await features?.append(rows)
      if (spatial) await spatial.add(outputs.spatial!.data as Float32Array)
      if (logits) await logits.append(outputs.logits!.data as Float32Array)
    },
    state: async () => ({
      ...withPrefix('pool', await pool.state()),
      ...(spatial ? withPrefix('spatial', await spatial.state()) : {}),
    }),
    finish: async () => ({
      pool: await pool.finish(),
      ...(spatial ? { spatial: await spatial.finish() } : {}),
      features,
      logits,
    }),
  }
}

/** What the network takes of an image: clean-fid resizes floats before it, the others pixels inside it. */
export function inceptionView(flavour: FidFlavour): View {
  return flavour === 'clean-fid' ? { kind: 'clean-fid', side: INCEPTION_SIZE } : ORIGINAL
}

/** The network's input for a batch; pixels are copied, because a run takes its input away. */
function inceptionInput({ data, count, height, width }: PixelBatch): Record<string, TensorValue> {
  if (data instanceof Float32Array) return { image: { data, dtype: 'float32', dims: [count, 3, height, width] } }
  // Not slice(): that of a Buffer copies nothing.
  return { pixels: { data: new Uint8Array(data), dtype: 'uint8', dims: [count, height, width, 3] } }
}
