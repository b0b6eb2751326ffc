/** One entry of a listing → its pixels, or the reject that it is: the way for all who do not run whole batches. */
import type { DecodeLimits } from '../../image/decode-limits.js'
import type { PixelPool, PixelResult } from '../../image/pool/pool.js'
import type { View } from '../../image/pool/views.js'
import { type ListingEntry, type Reject, RejectError, type Source } from '../../types.js'

/** The row of the rejects that an error with one image becomes; any other error is thrown. */
export function rejectOf({ key, uri }: ListingEntry, error: unknown): Reject {
  if (!(error instanceof RejectError)) throw error
  return { key, uri, stage: error.stage, code: error.code, message: error.message }
}

export interface EntryPixelsOptions {
  views: readonly View[]
  limits?: DecodeLimits
  stop?: AbortSignal
}

/** Never throws for what is wrong with this image alone. */
export async function readEntryPixels(
  source: Source,
  pool: PixelPool,
  entry: ListingEntry,
  { views, limits, stop }: EntryPixelsOptions,
): Promise<PixelResult | { reject: Reject }> {
  const { key, uri, at } = entry
  if (at.kind === 'bad') return { reject: { key, uri, stage: 'list', code: at.code, message: at.message } }
  let bytes: Uint8Array
  try {
    bytes = await source.read(entry, stop)
  } catch (error) {
    stop?.throwIfAborted() // what fails while it is ended is no fault of the image
    return { reject: rejectOf(entry, error) }
  }
  const result = await pool.run({ bytes, views, limits })
  return 'reject' in result ? { reject: { key, uri, ...result.reject } } : result
}
