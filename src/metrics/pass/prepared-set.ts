/**
 * A set whose images go through a transform first, to one size: what evaluations of a model go over. It uses the
 * stages of the batch engine, so an image gives the same pixels here as in `vtp encode`.
 */
import { createLimiter, mapOrdered } from '../../async/stages.js'
import { openPixelPool } from '../../image/pool/pool.js'
import { parseTransform, type Transform } from '../../image/transform.js'
import type { ListingFacts } from '../../io/sources/listing-report.js'
import { createPixelBuffers, fetchBatch, prepareBatch, runViews } from '../../pipeline/stream/batches.js'
import { createMeter } from '../../pipeline/stream/meter.js'
import type { ListingEntry } from '../../types.js'
import { IMAGE_TIMEOUT_MS, type ImageBatch, type ImageSet, type ImageSetOptions } from './image-set.js'
import type { StoredListing } from './listing.js'

export interface PreparedSet extends ImageSet {
  readonly transform: Transform
  /** What the listing has passed over or lost. */
  readonly facts: ListingFacts
  /** SHA-256 of the listing: keys and labels in order. */
  readonly digest: string
  /** SHA-256 that also changes with the files themselves: what unfinished work in the cache is found by. */
  stamp(): Promise<string>
  /** Class names by label, for sources that have them. */
  readonly classes: readonly string[] | undefined
  /** The named entries alone, in this order; for pictures of a report. */
  prepare(entries: ListingEntry[]): Promise<ImageBatch>
}

const AHEAD = 2

/** The images of a listing, which stays the caller's to close. `transform` is a spec. */
export async function openPreparedSet(
  listing: StoredListing,
  { transform: spec, batchSize, threads, maxPixels }: ImageSetOptions & { transform: string },
): Promise<PreparedSet> {
  const transform = parseTransform(spec)
  const { source, facts, total, entries: entriesFrom, keysDigest, stampDigest } = listing
  const digest = await keysDigest()
  const { height, width } = transform
  const limits = { maxPixels, timeoutMs: IMAGE_TIMEOUT_MS }
  const views = runViews(transform.spec, false)
  const pool = openPixelPool(threads)
  const limit = createLimiter(pool.capacity)
  const buffers = createPixelBuffers(batchSize, height * width * 3 * (transform.isFloat ? 4 : 1), false)
  const widths = { read: 1, preprocess: 1, encode: 1, write: 1 }
  const meter = createMeter({ total, doneBefore: 0, unitsBefore: 0, unitsTotal: 1, widths })
  const prepare = async (entries: ListingEntry[], start: number): Promise<ImageBatch> => {
    const job = { index: 0, unit: { rows: entries.length, offset: 0, bytes: 0 }, isolated: false }
    const fetched = await fetchBatch({ job, start, entries, last: false }, { source, meter })
    const batch = await prepareBatch(fetched, { pool: () => pool, views, limits, limit, buffers, meter })
    const count = batch.rows.length
    return {
      data: transform.isFloat
        ? new Float32Array(batch.pixels.memory, 0, count * height * width * 3)
        : new Uint8Array(batch.pixels.memory, 0, count * batch.pixels.imageBytes),
      count,
      height,
      width,
      entries: batch.positions.map((position) => entries[position - start]!),
      rejects: batch.rejects.map(({ reject }) => reject),
      done: start + entries.length,
      release: () => buffers.give(batch.pixels),
    }
  }
  return {
    uri: source.uri,
    transform,
    facts,
    total,
    digest,
    stamp: stampDigest,
    classes: source.classes,
    batches: (from) =>
      mapOrdered(entryBatches(entriesFrom(from), from, batchSize), AHEAD, ({ entries, start }) =>
        prepare(entries, start),
      ),
    prepare: (entries) => prepare(entries, 0),
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
