/** A listed set of images as batches of pixels, in order, from any place on: what passes go over. */
import type { ListingEntry, Reject } from '../../types.js'

/** Images of one size; none where only rejects are told of. */
export interface ImageBatch {
  /** uint8 [count, height, width, 3], or the floats of the set's view. */
  data: Uint8Array | Float32Array
  count: number
  height: number
  width: number
  /** Of the images, one each. */
  entries: ListingEntry[]
  rejects: Reject[]
  /** Entries of the listing that are dealt with when this batch is. */
  done: number
  /** Gives the memory of the pixels back. */
  release(): void
}

export interface ImageSet {
  readonly uri: string
  /** Entries of the listing. */
  readonly total: number
  /** Batches from entry number `from` on; a batch's `done` is one. */
  batches(from: number): AsyncGenerator<ImageBatch>
  close(): Promise<void>
}

export interface ImageSetOptions {
  batchSize: number
  /** Threads of the pool. */
  threads: number
  maxPixels: number
}

/** How long one image may take. */
export const IMAGE_TIMEOUT_MS = 60_000
