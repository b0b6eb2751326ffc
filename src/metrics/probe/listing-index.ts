/** Random access to the entries of a listing: byte offsets in memory, lines on disk. */
import { createHash } from 'node:crypto'
import { mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { usageError } from '../../errors.js'
import { parseListingEntry } from '../../io/listing.js'
import { readFully } from '../../io/read-fully.js'
import { openSource } from '../../io/sources/index.js'
import { writeListing } from '../../pipeline/plan.js'
import type { ListingEntry, Source } from '../../types.js'

export interface ListingIndex {
  readonly source: Source
  readonly count: number
  /** Number of classes: one more than the largest label, or the folders. */
  readonly classes: number
  /** Their names by label, for sources that have them. */
  readonly names: readonly string[] | undefined
  /** SHA-256 over keys and labels. */
  readonly digest: string
  entry(index: number): Promise<ListingEntry>
  close(): Promise<void>
}

/** Lists a source. Throws usage error `no_label` when an image has no class. */
export async function openListingIndex(
  spec: string,
  limit: number | undefined,
  signal?: AbortSignal,
): Promise<ListingIndex> {
  const source = await openSource(spec)
  const dir = await mkdtemp(path.join(tmpdir(), 'vtp-probe-'))
  const close = async (): Promise<void> => {
    await source.close()
    await rm(dir, { recursive: true, force: true })
  }
  try {
    const file = path.join(dir, 'listing.jsonl')
    await writeListing(source, file, 4096, { signal })
    const hash = createHash('sha256')
    const offsets = [0]
    let classes = source.classes?.length ?? 0
    const reader = await open(file)
    for await (const line of reader.readLines()) {
      const { key, label, uri } = parseListingEntry(line)
      if (label === undefined)
        throw usageError('no_label', `${uri} has no label`, [
          'give a folder of class folders, a tar with .cls members, or a list with labels',
        ])
      classes = Math.max(classes, label + 1)
      hash.update(`${JSON.stringify([key, label])}\n`)
      offsets.push(offsets.at(-1)! + Buffer.byteLength(line) + 1)
      if (offsets.length - 1 === limit) break
    }
    await reader.close().catch(() => {})
    const count = offsets.length - 1
    if (count === 0) throw usageError('no_images', `${spec} holds no images`, ['check the path'])
    const handle = await open(file)
    return {
      source,
      count,
      classes,
      names: source.classes && source.classes.length > 0 ? source.classes : undefined,
      digest: hash.digest('hex'),
      async entry(index) {
        const bytes = Buffer.alloc(offsets[index + 1]! - offsets[index]! - 1)
        await readFully(handle, bytes, offsets[index]!)
        return parseListingEntry(bytes.toString())
      },
      async close() {
        await handle.close()
        await close()
      },
    }
  } catch (error) {
    await close()
    throw error
  }
}
