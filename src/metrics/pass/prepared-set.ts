/**
 * A dataset, listed once and then read as batches of preprocessed pixels in the listing's order, from any
 * position on: what every evaluation that runs a model goes through. It uses the stages of the batch
 * engine, so an image gives the same pixels here as in `vtp encode`.
 */

import { createLimiter, mapOrdered } from '../../async/stages.js'
import { openPixelPool } from '../../image/pool/pool.js'
import { parseTransform, type Transform } from '../../image/transform.js'
import type { PreparedBatch } from '../../pipeline/stream/batch.js'
import { createPixelBuffers, fetchBatch, prepareBatch, runViews } from '../../pipeline/stream/batches.js'
import { createMeter } from '../../pipeline/stream/meter.js'
import type { ListingEntry } from '../../types.js'
import type { StoredListing } from './listing.js'

export interface PreparedSetOptions {
  /** Transform spec. */
  transform: string
  batchSize: number
  /** Preprocessing threads. */
  threads: number
  maxPixels: number
}

export interface PreparedSet {
  readonly uri: string
  readonly transform: Transform
  /** Entries of the listing, at most `limit`. */
  readonly total: number
  /** SHA-256 of the listing: keys, places and labels in order. */
  readonly digest: string
  /** SHA-256 that also changes with the files themselves: what unfinished work in the cache is found by. */
  stamp(): Promise<string>
  /** Class names by label, for sources that have them. */
  readonly classes: readonly string[] | undefined
  /** Batches in order from entry number `from` on. Give a batch back with `release` when its pixels are done with. */
  batches(from?: number): AsyncGenerator<PreparedBatch>
  /** The named entries alone, in this order; for pictures of a report. */
  prepare(entries: ListingEntry[]): Promise<PreparedBatch>
  release(batch: PreparedBatch): void
  close(): Promise<void>
}

const AHEAD = 2

/** The images of a listing, which stays the caller's to close. */
export async function openPreparedSet(listing: StoredListing, options: PreparedSetOptions): Promise<PreparedSet> {
  const transform = parseTransform(options.transform)
  const { source, total, entries: entriesFrom, keysDigest, stampDigest } = listing
  const digest = await keysDigest()
  const { height, width } = transform
  const limits = { maxPixels: options.maxPixels, timeoutMs: 60_000 }
  const pool = openPixelPool(options.threads)
  const views = runViews(transform.spec, false)
  const buffers = createPixelBuffers(options.batchSize, height * width * 3, false)
  const widths = { read: 1, preprocess: 1, encode: 1, write: 1 }
  const meter = createMeter({ total, doneBefore: 0, unitsBefore: 0, unitsTotal: 1, widths })
  const limit = createLimiter(options.threads * 2)
  const prepare = async (entries: ListingEntry[], start: number): Promise<PreparedBatch> => {
    const job = { index: 0, unit: { rows: entries.length, offset: 0, bytes: 0 }, isolated: false }
    const fetched = await fetchBatch({ job, start, entries, last: false }, { source, meter })
    return prepareBatch(fetched, { pool: () => pool, views, limits, limit, buffers, meter })
  }
  return {
    uri: source.uri,
    transform,
    total,
    digest,
    stamp: stampDigest,
    classes: source.classes,
    batches: (from = 0) =>
      mapOrdered(entryBatches(entriesFrom(from), from, options.batchSize), AHEAD, ({ entries, start }) =>
        prepare(entries, start),
      ),
    prepare: (entries) => prepare(entries, 0),
    release: (batch) => buffers.give(batch.pixels),
    close: () => pool.close(),
  }
}

async function* entryBatches(listed: AsyncIterable<ListingEntry>, from: number, size: number) {
  let start = from
  let entries: ListingEntry[] = []
  for await (const entry of listed) {
    entries.push(entry)
    if (entries.length < size) continue
    yield { entries, start }
    start += entries.length
    entries = []
  }
  if (entries.length > 0) yield { entries, start }
}
