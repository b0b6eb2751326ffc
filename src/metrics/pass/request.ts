/** What every evaluation of a set of images is asked for. */
import type { FieldNames } from '../../io/sources/options.js'
import type { StateOptions } from './state.js'

export interface SetRequest {
  batchSize: number
  limit?: number
  /** Columns or fields of a source, where they do not have the usual names. */
  fields?: FieldNames
  maxPixels: number
  /** How often progress is made durable. */
  checkpointSeconds: number
  /** The list that a source `-` is. */
  stdin?: AsyncIterable<Uint8Array>
  stop?: AbortSignal
  onNote?: (line: string) => void
}

/** Of one set, in one pass. */
export interface PassRequest extends SetRequest {
  /** As in `StateOptions`. */
  kept?: StateOptions['kept']
  onImages?: (done: number, total: number, rejects: number) => void
}
