/** Random access to the entries of a listing: byte offsets in memory, lines on disk. */
import { open } from 'node:fs/promises'
import { usageError } from '../../errors.js'
import { parseListingEntry } from '../../io/listing.js'
import { readFully } from '../../io/read-fully.js'
import type { ListingEntry, Source } from '../../types.js'
import { type ListingOptions, storeListing } from '../pass/listing.js'

export interface ListingIndex {
  readonly source: Source
  readonly count: number
  /** Number of classes: one more than the largest label, or the folders. */
  readonly classes: number
  /** Their names by label, for sources that have them. */
  readonly names: readonly string[] | undefined
  /** SHA-256 over keys and labels. */
  readonly digest: string
  /** SHA-256 that also changes with the files themselves. */
  readonly stamp: string
  entry(index: number): Promise<ListingEntry>
  /** All of them in order. */
  entries(): AsyncGenerator<ListingEntry>
  close(): Promise<void>
}

export interface ListingIndexOptions extends ListingOptions {
  /** Whether images may be without a class. */
  unlabelled?: boolean
}

/** Lists a source. Throws usage error `no_label` when an image has no class, unless it may be without. */
export async function openListingIndex(spec: string, options: ListingIndexOptions): Promise<ListingIndex> {
  const listing = await storeListing(spec, options)
  const { source, total: count, file } = listing
  try {
    const offsets = [0]
    let classes = source.classes?.length ?? 0
    const reader = await open(file)
    for await (const line of reader.readLines()) {
      const { label, uri } = parseListingEntry(line)
      if (label === undefined && !options.unlabelled)
        throw usageError('no_label', `${uri} has no label`, [
          'give a folder of class folders, a tar with .cls members, or a list with labels',
        ])
      classes = Math.max(classes, (label ?? -1) + 1)
      offsets.push(offsets.at(-1)! + Buffer.byteLength(line) + 1)
    }
    await reader.close().catch(() => {})
    const [digest, stamp] = [await listing.keysDigest(), await listing.stampDigest()]
    const handle = await open(file)
    return {
      source,
      count,
      classes,
      names: source.classes && source.classes.length > 0 ? source.classes : undefined,
      digest,
      stamp,
      async entry(index) {
        const bytes = Buffer.alloc(offsets[index + 1]! - offsets[index]! - 1)
        await readFully(handle, bytes, offsets[index]!)
        return parseListingEntry(bytes.toString())
      },
      entries: () => listing.entries(0),
      async close() {
        await handle.close()
        await listing.close()
      },
    }
  } catch (error) {
    await listing.close()
    throw error
  }
}
