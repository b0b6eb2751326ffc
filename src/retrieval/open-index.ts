/** An index, open for searching. */
import { access } from 'node:fs'
import path from 'node:path'
import { nativePath } from '../io/sources/read-file.js'
import { type ExactSearch, openExact } from './exact.js'
import { filterMask, isEmptyFilter, type RowFilter } from './filters.js'
import { openHnsw } from './hnsw.js'
import { openLance } from './lance.js'
import { type Manifest, requireManifest } from './manifest.js'
import { createRecent } from './recent.js'
import { openRows, type RowReader } from './row-reader.js'
import type { IndexRow } from './segments.js'
import type { Hit } from './top-k.js'

export interface SearchOptions {
  k: number
  filter?: RowFilter
  /** Compare with every vector, whatever the index has. */
  exact?: boolean
}

export interface OpenIndex {
  readonly folder: string
  readonly manifest: Manifest
  readonly reader: RowReader
  readonly exact: ExactSearch
  /**
   * The k nearest rows of each query, float32 [queries, dim] (unit vectors), best first. With a filter the
   * search is exact: the best among all rows that meet it.
   */
  search(queries: Float32Array, options: SearchOptions): Promise<Hit[][]>
  /** 1 for each row that meets a filter: uint8 [rows]. The last masks are kept. */
  mask(filter: RowFilter): Promise<Uint8Array>
  close(): Promise<void>
}

/** Masks of the last filters, since a page or a second query asks the same again. */
const MASKS = 8

export interface OpenOptions {
  threads?: number
  /** For long: whatever a search may need is opened now, so that a later build cannot take it away. */
  hold?: boolean
}

/** Throws usage errors for folders that are no index, and `index_damaged`. */
export async function openIndex(folder: string, options: OpenOptions = {}): Promise<OpenIndex> {
  const manifest = await requireManifest(folder)
  const reader = openRows(folder, manifest.dim, manifest.segments)
  const exact = openExact(folder, manifest, options.threads ?? 1)
  try {
    await reader.hold()
    if (options.hold) await exact.hold()
    const hnsw = manifest.hnsw ? await openHnsw(folder, manifest, reader) : undefined
    const lance = manifest.lancedb ? await openLance(folder, manifest, reader) : undefined
    const masks = createRecent<string, Promise<Uint8Array>>(MASKS)
    const maskOf = (filter: RowFilter): Promise<Uint8Array> => {
      const key = JSON.stringify(filter)
      let found = masks.get(key)
      if (!found) {
        found = filterMask(reader, manifest.rows, filter)
        found.catch(() => masks.delete(key))
        masks.set(key, found)
      }
      return found
    }
    return {
      folder,
      manifest,
      reader,
      exact,
      async search(queries, { k, filter, exact: force }) {
        if (filter && !isEmptyFilter(filter)) return exact.search(queries, k, await maskOf(filter))
        const approximate = force ? undefined : (hnsw ?? lance)
        return approximate ? approximate.search(queries, k) : exact.search(queries, k)
      },
      mask: maskOf,
      async close() {
        lance?.close()
        await Promise.allSettled([exact.close(), reader.close()])
      },
    }
  } catch (error) {
    await Promise.allSettled([exact.close(), reader.close()])
    throw error
  }
}

/** The local file that holds a row's image; undefined when there is none, or none is known. */
function imageFile({ at, uri }: IndexRow): string | Buffer | undefined {
  if (at?.kind === 'file' && at.bytes !== undefined) return nativePath(at)
  // The list of an address with a signature is not the image.
  if (at?.kind === 'line') return undefined
  const file = at && 'path' in at ? at.path : uri
  return path.isAbsolute(file) ? file : undefined
}

/** In another thread, since the images may lie on a slow store; by a callback, which costs half of a promise of Node's. */
function exists(file: string | Buffer): Promise<boolean> {
  return new Promise((resolve) => access(file, (error) => resolve(!error)))
}

/** Whether the file of a row's image is gone. Rows without a local file are not looked after. */
export async function isMissing(row: IndexRow): Promise<boolean> {
  const file = imageFile(row)
  return file !== undefined && !(await exists(file))
}

/** The shard and its row that a row id stands for. */
export function shardRow(manifest: Manifest, id: number): { shard: string; shardRow: number } {
  let first = 0
  for (const shard of manifest.shards) {
    if (id < first + shard.rows) return { shard: shard.path, shardRow: id - first }
    first += shard.rows
  }
  return { shard: '', shardRow: -1 }
}
