/** A batch of a unit on its way: listed, fetched, preprocessed, encoded. */
import type { ListingEntry, Reject, RowBatch, RowMeta } from '../../types.js'
import type { PlannedUnit } from '../ledger/plan.js'
import type { PlacedReject } from '../ledger/rejects.js'

/** A unit that this run has started. */
export interface UnitJob {
  index: number
  unit: PlannedUnit
  /** Decode in child processes, because earlier attempts at this unit died. */
  isolated: boolean
}

export interface BatchJob {
  job: UnitJob
  /** Position of the first entry in the unit. */
  start: number
  entries: ListingEntry[]
  last: boolean
}

export interface FetchedBatch extends BatchJob {
  /** The images' bytes, in the order of the entries. */
  sources: (Uint8Array | Reject | LateSource)[]
}

/** An image that is only read when its turn has come to be preprocessed, because its batch holds enough. */
export interface LateSource {
  bytes: number
  read(): Promise<Uint8Array | Reject>
}

export interface PreparedBatch extends BatchJob {
  rows: RowMeta[]
  /** Position in the unit of each row. */
  positions: number[]
  rejects: PlacedReject[]
  pixels: PixelBuffer
}

export interface EncodedBatch extends Omit<PreparedBatch, 'pixels'> {
  batch: RowBatch
}

/** Pixels of up to `capacity` images, then the mirrored ones: uint8 [2 × capacity, H, W, 3] in all. */
export interface PixelBuffer {
  memory: SharedArrayBuffer
  capacity: number
  imageBytes: number
}
