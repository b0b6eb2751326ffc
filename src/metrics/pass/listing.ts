/**
 * A source's listing on disk, read from any entry on: what every set of an evaluation is made of, so that
 * memory does not grow with it. Two digests tell sets apart: `keysDigest` by what is compared in a table
 * (the same images elsewhere are the same set), `stampDigest` by the very files.
 */
import { createHash } from 'node:crypto'
import { open, rm } from 'node:fs/promises'
import path from 'node:path'
import { usageError } from '../../errors.js'
import { parseListingEntry } from '../../io/listing.js'
import { type FieldNames, openSource } from '../../io/sources/index.js'
import { joinFacts, type ListingFacts, listingLines } from '../../io/sources/listing-report.js'
import { makeTempFolder } from '../../io/temp-folder.js'
import { writeListing } from '../../pipeline/ledger/plan.js'
import type { ListingEntry, Source } from '../../types.js'
import { contentStamp, fileStamp } from './stamp.js'

export interface StoredListing {
  readonly source: Source
  /** What was passed over or lost. */
  readonly facts: ListingFacts
  /** Entries, at most `limit`. */
  readonly total: number
  /** Where they are, one per line. */
  readonly file: string
  entries(from: number): AsyncGenerator<ListingEntry>
  /** SHA-256 over keys and labels in order. */
  keysDigest(): Promise<string>
  /** SHA-256 over all of the entries, and over size and time of change of local files behind them. */
  stampDigest(): Promise<string>
  /** Removes it, and closes the source. */
  close(): Promise<void>
}

export interface ListingOptions {
  /** At most this many images, from the start. */
  limit?: number
  /** Columns or fields of the source, where they do not have the usual names. */
  fields?: FieldNames
  stdin?: AsyncIterable<Uint8Array>
  signal?: AbortSignal
  /** Told what the listing has passed over or lost, a line each. */
  onNote?: (line: string) => void
}

/** Opens and lists what the user calls a SOURCE. Throws usage error `no_images` when there is nothing. */
export async function storeListing(spec: string, options: ListingOptions): Promise<StoredListing> {
  const source = await openSource(spec, { stdin: options.stdin, limit: options.limit, fields: options.fields })
  let dir: string | undefined
  const close = async (): Promise<void> => {
    await source.close()
    if (dir !== undefined) await rm(dir, { recursive: true, force: true })
  }
  try {
    dir = await makeTempFolder('eval')
    const file = path.join(dir, 'listing.jsonl')
    const { images } = await writeListing(source, file, 4096, { signal: options.signal })
    for (const line of listingLines(source)) options.onNote?.(line)
    if (images === 0) throw usageError('no_images', `${source.uri} holds no images`, ['check the path'])
    return {
      source,
      facts: joinFacts([source]),
      total: images,
      file,
      entries: (from) => readEntries(file, from),
      keysDigest: () => keysDigest(file),
      stampDigest: () => stampDigest(file),
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

async function* readEntries(file: string, from: number): AsyncGenerator<ListingEntry> {
  const handle = await open(file)
  try {
    let number = 0
    for await (const line of handle.readLines()) if (number++ >= from) yield parseListingEntry(line)
  } finally {
    await handle.close().catch(() => {})
  }
}

async function keysDigest(file: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const { key, label } of readEntries(file, 0)) hash.update(`${JSON.stringify([key, label ?? null])}\n`)
  return hash.digest('hex')
}

/** Files that are asked for at a time. */
const STATS_AT_ONCE = 64

async function stampDigest(file: string): Promise<string> {
  const hash = createHash('sha256')
  let held: ListingEntry[] = []
  let last = { path: '', stamp: '' }
  const flush = async (): Promise<void> => {
    const paths = held.map(({ at }) => ('path' in at ? at.path : ''))
    // Thousands of entries may lie in one archive.
    const stamps = new Map([[last.path, Promise.resolve(last.stamp)]])
    for (const [i, name] of paths.entries()) {
      // A listing says which version of an object it names; that of shards does not.
      const stamp = held[i]!.at.kind === 'shard' ? contentStamp : fileStamp
      if (!stamps.has(name)) stamps.set(name, stamp(name))
    }
    for (const [i, entry] of held.entries()) {
      last = { path: paths[i]!, stamp: await stamps.get(paths[i]!)! }
      hash.update(`${JSON.stringify([entry, last.stamp])}\n`)
    }
    held = []
  }
  for await (const entry of readEntries(file, 0)) {
    held.push(entry)
    if (held.length === STATS_AT_ONCE) await flush()
  }
  await flush()
  return hash.digest('hex')
}
