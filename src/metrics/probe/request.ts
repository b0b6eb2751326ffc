import type { Device } from '../../engine/device.js'
import type { FieldNames } from '../../io/sources/options.js'
import type { Precision } from '../../model/index.js'

/** What a probe is trained on, and how. */
export interface ProbeRequest {
  /** Sources of images, or folders of shards with features when `stored` is set. */
  train: string
  val: string
  stored: boolean
  model: string
  cacheDir: string
  batchSize: number
  epochs: number
  epochLength: number
  /** Numbers of last blocks that heads read, and whether they also read the mean of the patches; default: the script's. */
  blocks?: number[]
  avgpool?: boolean[]
  rates: number[]
  distinct: boolean
  seed: number
  /** Neighbours of the k-NN classifier; with stored features only. */
  neighbours: number
  precision: Precision
  device: Device
  limit?: number
  /** Columns or fields of a source, where they do not have the usual names. */
  fields?: FieldNames
  maxPixels: number
  out?: string
  checkpointSeconds: number
  /** For one of the sets, given as `-`. */
  stdin?: AsyncIterable<Uint8Array>
  stop?: AbortSignal
  onNote?: (line: string) => void
  onProgress?: (done: number, total: number, rejects: number) => void
}
