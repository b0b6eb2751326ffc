/** One line of a listing ↔ one entry. Lines come back from disk or a bucket, so they are checked. */
import * as z from 'zod'
import { VtpError } from '../errors.js'
import { type ListingEntry, REJECT_CODES } from '../types.js'

const offset = z.int().nonnegative()
const location = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('file'),
    path: z.string(),
    bytes: z.string().optional(),
    size: offset.optional(),
    etag: z.string().optional(),
  }),
  z.object({
    kind: z.literal('range'),
    path: z.string(),
    offset,
    size: offset,
    etag: z.string().optional(),
    packed: z.literal('gzip').optional(),
  }),
  z.object({
    kind: z.literal('parquet'),
    path: z.string(),
    rowGroup: offset,
    row: offset,
    etag: z.string().optional(),
    column: z.string().optional(),
  }),
  z.object({ kind: z.literal('arrow'), path: z.string(), batch: offset, row: offset, column: z.string().optional() }),
  z.object({ kind: z.literal('line'), path: z.string(), offset, size: offset }),
  z.object({ kind: z.literal('shard'), path: z.string(), group: offset, row: offset }),
  z.object({ kind: z.literal('text') }),
  z.object({ kind: z.literal('bad'), code: z.enum(REJECT_CODES), message: z.string() }),
])

const entrySchema = z.object({
  key: z.string(),
  uri: z.string(),
  label: z.int32().optional(),
  caption: z.string().optional(),
  metadata: z.string().optional(),
  at: location,
})

/** Throws VtpError `listing_damaged`. */
export function parseListingEntry(line: string): ListingEntry {
  try {
    return entrySchema.parse(JSON.parse(line))
  } catch (error) {
    throw new VtpError(`The stored listing has a line that cannot be read: ${line.slice(0, 120)}`, {
      code: 'listing_damaged',
      suggestions: ['start anew with --overwrite'],
      cause: error,
    })
  }
}
