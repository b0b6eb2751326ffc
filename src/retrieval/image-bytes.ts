/** The bytes of an indexed image, wherever the run that embedded it found them. */
import path from 'node:path'
import { openList } from '../io/sources/list.js'
import { openParquet } from '../io/sources/parquet.js'
import { readLocation } from '../io/sources/read-file.js'
import { type ListingEntry, RejectError } from '../types.js'
import type { IndexRow } from './segments.js'

/** Throws RejectError (`not_found`, `bad_entry`, …) when they are not there any more. */
export async function readIndexedImage(row: IndexRow): Promise<Uint8Array> {
  const { key, uri } = row
  const at = row.at ?? (path.isAbsolute(uri) ? ({ kind: 'file', path: uri } as const) : undefined)
  if (!at || at.kind === 'text' || at.kind === 'bad')
    throw new RejectError('bad_entry', 'read', 'the index does not know where this image is')
  const entry: ListingEntry = { key, uri, at }
  if (at.kind !== 'parquet' && at.kind !== 'line') return readLocation(entry)
  // An address with a signature is nowhere but in its list.
  const source = at.kind === 'line' ? await openList(at.path, {}) : await openParquet([at.path], {})
  try {
    return await source.read(entry)
  } finally {
    await source.close()
  }
}
