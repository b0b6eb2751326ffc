/**
 * Captions in text files beside images: `a.jpg` and `a.txt`, as caption tools and img2dataset's `files` format
 * write them. A text file that no image belongs to is passed over.
 */

import { mapOrdered } from '../../async/map-ordered.js'
import type { ListingEntry } from '../../types.js'
import { decodeText } from '../decode-text.js'
import type { ListingReport } from './listing-report.js'

/** Files that are read at once. */
const READS_AT_ONCE = 32
export const MAX_CAPTION_BYTES = 1 << 20

export function isCaptionName(name: string): boolean {
  return /\.txt$/i.test(name)
}

/** A path without its extension: what an image and its caption have in common. */
export function stem(name: string): string {
  const dot = name.lastIndexOf('.')
  return dot > name.lastIndexOf('/') + 1 ? name.slice(0, dot) : name
}

export interface CaptionFiles {
  /** A text file was seen, by its path below the root. */
  add(name: string): void
  /** The entries with their captions; `read` reads a text file by its path below the root. */
  attach(
    entries: AsyncIterable<ListingEntry>,
    report: ListingReport,
    read: (name: string) => Promise<Uint8Array | 'too_large'>,
  ): AsyncIterable<ListingEntry>
}

/** Holds the names of the text files. */
export function createCaptionFiles(): CaptionFiles {
  const files = new Map<string, string>()
  const used = new Set<string>()
  return {
    add: (name) => void files.set(stem(name), name),
    attach(entries, report, read) {
      if (files.size === 0) return entries
      return attachAll(entries, report, read)
    },
  }

  async function* attachAll(
    entries: AsyncIterable<ListingEntry>,
    report: ListingReport,
    read: (name: string) => Promise<Uint8Array | 'too_large'>,
  ): AsyncGenerator<ListingEntry> {
    yield* mapOrdered(entries, READS_AT_ONCE, async (entry) => {
      const name = files.get(stem(entry.key))
      if (name === undefined) return entry
      used.add(name)
      const bytes = await read(name)
      if (bytes === 'too_large') {
        report.note('caption_size', name)
        return entry
      }
      return { ...entry, caption: decodeText(bytes).trim() }
    })
    for (const name of files.values()) if (!used.has(name)) report.passOver(name)
  }
}
