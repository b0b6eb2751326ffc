/**
 * A dataset, listed once and then read as batches of preprocessed pixels in the listing's order, from any
 * position on: what every evaluation that runs a model goes through. It uses the stages of the batch
 * engine, so an image gives the same pixels here as in `vtp encode`.
 */
import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { usageError } from '../../errors.js'
import { parseTransform, type Transform } from '../../image/transform.js'
import { parseListingEntry } from '../../io/listing.js'
import { openSource } from '../../io/sources/index.js'
import { createPixelBuffers, fetchBatch, type PreparedBatch, prepareBatch } from '../../pipeline/batches.js'
import { createMeter } from '../../pipeline/meter.js'
import { writeListing } from '../../pipeline/plan.js'
import { createPreprocessPool } from '../../pipeline/preprocess-pool.js'
import { createLimiter, mapOrdered } from '../../pipeline/stages.js'
import type { ListingEntry, Source } from '../../types.js'

export interface PreparedSetOptions {
  /** Transform spec. */
  transform: string
  limit?: number
  batchSize: number
  /** Preprocessing threads. */
  threads: number
  maxPixels: number
  stdin?: AsyncIterable<Uint8Array>
  signal?: AbortSignal
  /** Where the listing is kept; a temporary folder by default. */
  dir?: string
}

export interface PreparedSet {
  readonly uri: string
  readonly transform: Transform
  /** Entries of the listing, at most `limit`. */
  readonly total: number
  /** SHA-256 of the listing: keys, places and labels in order. */
  readonly digest: string
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

export async function openPreparedSet(spec: string, options: PreparedSetOptions): Promise<PreparedSet> {
  const transform = parseTransform(options.transform)
  const source = await openSource(spec, { stdin: options.stdin })
  const dir = options.dir ?? (await mkdtemp(path.join(tmpdir(), 'vtp-eval-')))
  const removeDir = async (): Promise<void> => {
    if (options.dir === undefined) await rm(dir, { recursive: true, force: true })
  }
  try {
    await mkdir(dir, { recursive: true })
    const file = path.join(dir, 'listing.jsonl')
    const listed = await writeListing(limitSource(source, options.limit), file, 4096, { signal: options.signal })
    if (listed.images === 0) throw usageError('no_images', `${spec} holds no images`, ['check the path'])
    const { height, width } = transform
    const limits = { maxPixels: options.maxPixels, timeoutMs: 60_000 }
    const pool = createPreprocessPool({ transform: transform.spec, limits, flip: false }, options.threads, false)
    const buffers = createPixelBuffers(options.batchSize, height * width * 3, false)
    const widths = { read: 1, preprocess: 1, encode: 1, write: 1 }
    const meter = createMeter({ total: listed.images, doneBefore: 0, unitsBefore: 0, unitsTotal: 1, widths })
    const limit = createLimiter(options.threads * 2)
    const prepare = async (entries: ListingEntry[], start: number): Promise<PreparedBatch> => {
      const job = { index: 0, unit: { rows: entries.length, offset: 0, bytes: 0 }, isolated: false }
      const fetched = await fetchBatch({ job, start, entries, last: false }, { source, meter })
      return prepareBatch(fetched, { pool: () => pool, limit, buffers, meter })
    }
    return {
      uri: source.uri,
      transform,
      total: listed.images,
      digest: await keysDigest(file),
      classes: source.classes,
      batches: (from = 0) =>
        mapOrdered(entryBatches(file, from, options.batchSize), AHEAD, ({ entries, start }) => prepare(entries, start)),
      prepare: (entries) => prepare(entries, 0),
      release: (batch) => buffers.give(batch.pixels),
      async close() {
        await pool.close()
        await source.close()
        await removeDir()
      },
    }
  } catch (error) {
    await source.close()
    await removeDir()
    throw error
  }
}

function limitSource(source: Source, limit: number | undefined): Source {
  if (limit === undefined) return source
  return {
    ...source,
    async *list(signal) {
      let count = 0
      for await (const entry of source.list(signal)) {
        if (count++ < limit) yield entry
        // A folder knows its classes only when all of it is listed, and labels mean nothing without them.
        else if (source.kind !== 'folder') return
      }
    },
  }
}

/** Over keys and labels: the same images elsewhere are the same set. */
async function keysDigest(file: string): Promise<string> {
  const hash = createHash('sha256')
  const handle = await open(file)
  for await (const line of handle.readLines()) {
    const { key, label } = parseListingEntry(line)
    hash.update(`${JSON.stringify([key, label ?? null])}\n`)
  }
  return hash.digest('hex')
}

async function* entryBatches(file: string, from: number, size: number) {
  const handle = await open(file)
  try {
    let number = 0
    let entries: ListingEntry[] = []
    for await (const line of handle.readLines()) {
      if (number++ < from) continue
      entries.push(parseListingEntry(line))
      if (entries.length < size) continue
      yield { entries, start: number - entries.length }
      entries = []
    }
    if (entries.length > 0) yield { entries, start: number - entries.length }
  } finally {
    await handle.close().catch(() => {})
  }
}
