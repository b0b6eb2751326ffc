/** The bytes of an indexed image, wherever the run that embedded it found them. */
import path from 'node:path'
import { openList } from '../io/sources/list.js'
import { openNpzImages } from '../io/sources/npz.js'
import { openParquet } from '../io/sources/parquet.js'
import { readLocation } from '../io/sources/read-file.js'
import { openSavedDataset } from '../io/sources/saved-dataset.js'
import { openPixelShards } from '../io/sources/shards.js'
import { openTars } from '../io/sources/tar.js'
import { type ListingEntry, type Location, RejectError, type Source } from '../types.js'
import type { IndexRow } from './segments.js'

/** Stored pixels come packed (raw-rgb.ts). Throws RejectError (`not_found`, `bad_entry`, …) when they are not there any more. */
export async function readIndexedImage(row: IndexRow): Promise<Uint8Array> {
  const { key, uri } = row
  const at = row.at ?? (path.isAbsolute(uri) ? ({ kind: 'file', path: uri } as const) : undefined)
  if (!at || at.kind === 'text' || at.kind === 'bad')
    throw new RejectError('bad_entry', 'read', 'the index does not know where this image is')
  const entry: ListingEntry = { key, uri, at }
  const source = await sourceOf(at)
  if (!source) return readLocation(entry)
  try {
    return await source.read(entry)
  } finally {
    await source.close()
  }
}

/** The source that alone can read such a place; undefined for plain files and ranges. */
async function sourceOf(at: Location): Promise<Source | undefined> {
  // An address with a signature is nowhere but in its list.
  if (at.kind === 'line') return openList(at.path, {})
  if (at.kind === 'parquet') return openParquet([at.path], { fields: { image: at.column } })
  if (at.kind === 'arrow') return openSavedDataset(path.dirname(at.path), { fields: { image: at.column } })
  if (at.kind === 'shard') return /\.npz$/i.test(at.path) ? openNpzImages(at.path) : openPixelShards([at.path], {})
  return at.kind === 'range' && at.packed ? openTars([at.path], {}) : undefined
}
