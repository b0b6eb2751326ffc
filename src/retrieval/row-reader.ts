/** Reading rows and vectors of an index from its segments. Memory: the rows that were asked for last, some megabytes. */
import { readSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import path from 'node:path'
import { damaged, type Segment } from './manifest.js'
import { createRecent } from './recent.js'
import type { IndexRow } from './segments.js'

/** Rows that an open index remembers, and the longest caption among them (characters): some megabytes. */
const RECENT_ROWS = 4096
const RECENT_CAPTION = 2000
/** Reads of an index, which lies on this machine, that are not worth a thread. */
const SMALL_BYTES = 16 * 1024

/** Rows and vectors of an index by row id. Close it. */
export interface RowReader {
  rows(ids: readonly number[]): Promise<IndexRow[]>
  /** float32 [ids, dim] */
  vectors(ids: readonly number[]): Promise<Float32Array>
  /** Every row from `first` on, in order, in batches. */
  scan(batchRows: number, first?: number): AsyncGenerator<{ first: number; rows: IndexRow[] }>
  /** Every vector from `first` on, in order. */
  scanVectors(batchRows: number, first?: number): AsyncGenerator<{ first: number; rows: number; vectors: Float32Array }>
  /** Opens every file now: they stay readable when a later build deletes them. Throws `index_damaged`. */
  hold(): Promise<void>
  close(): Promise<void>
}

export function openRows(folder: string, dim: number, segments: readonly Segment[]): RowReader {
  const handles = new Map<string, Promise<FileHandle>>()
  const handle = (name: string): Promise<FileHandle> => {
    let found = handles.get(name)
    if (!found) {
      found = open(path.join(folder, name))
      handles.set(name, found)
    }
    return found
  }
  const readAt = async (name: string, offset: number, bytes: number): Promise<Buffer> => {
    const file = await handle(name)
    const out = Buffer.alloc(bytes)
    // A few kilobytes, mostly of the page cache: a trip through the thread pool would cost more.
    const isSmall = bytes <= SMALL_BYTES
    const bytesRead = isSmall
      ? readSync(file.fd, out, 0, bytes, offset)
      : (await file.read(out, 0, bytes, offset)).bytesRead
    if (bytesRead !== bytes) throw damaged(folder, `${name} ends early`)
    return out
  }
  const segmentOf = (id: number): Segment => {
    const found = segments.find((segment) => id >= segment.first && id < segment.first + segment.rows)
    if (!found) throw damaged(folder, `there is no row ${id}`)
    return found
  }
  const parse = (name: string, line: string): IndexRow => {
    try {
      return JSON.parse(line) as IndexRow
    } catch (error) {
      throw damaged(folder, `${name} has a line that cannot be read`, error)
    }
  }
  const tableRows = async (segment: Segment, from: number, count: number): Promise<IndexRow[]> => {
    const raw = await readAt(segment.offsets.name, from * 8, (count + 1) * 8)
    const start = Number(raw.readBigUInt64LE(0))
    const end = Number(raw.readBigUInt64LE(count * 8))
    if (end > segment.table.bytes || start > end)
      throw damaged(folder, `${segment.offsets.name} does not fit its table`)
    const lines = (await readAt(segment.table.name, start, end - start)).toString().split('\n').slice(0, -1)
    if (lines.length !== count) throw damaged(folder, `${segment.offsets.name} does not fit its table`)
    return lines.map((line) => parse(segment.table.name, line))
  }
  const readVectors = async (segment: Segment, from: number, count: number): Promise<Float32Array> => {
    const raw = await readAt(segment.vectors.name, from * dim * 4, count * dim * 4)
    return new Float32Array(raw.buffer, raw.byteOffset, count * dim)
  }
  function* pieces(batchRows: number, first: number): Generator<{ segment: Segment; from: number; count: number }> {
    for (const segment of segments) {
      for (let from = Math.max(0, first - segment.first); from < segment.rows; from += batchRows)
        yield { segment, from, count: Math.min(batchRows, segment.rows - from) }
    }
  }
  // A page of results asks for its rows again with each of its pictures.
  const recent = createRecent<number, Promise<IndexRow>>(RECENT_ROWS)
  const readRow = async (id: number): Promise<IndexRow> => {
    const segment = segmentOf(id)
    const [row] = await tableRows(segment, id - segment.first, 1)
    if ((row!.caption?.length ?? 0) > RECENT_CAPTION) recent.delete(id)
    return row!
  }
  const oneRow = (id: number): Promise<IndexRow> => {
    let found = recent.get(id)
    if (!found) {
      found = readRow(id)
      found.catch(() => recent.delete(id))
      recent.set(id, found)
    }
    return found
  }
  return {
    rows: (ids) => Promise.all(ids.map(oneRow)),
    async vectors(ids) {
      const out = new Float32Array(ids.length * dim)
      await Promise.all(
        ids.map(async (id, i) => {
          const segment = segmentOf(id)
          const { fd } = await handle(segment.vectors.name)
          // As above.
          const bytes = readSync(fd, out, i * dim * 4, dim * 4, (id - segment.first) * dim * 4)
          if (bytes !== dim * 4) throw damaged(folder, `${segment.vectors.name} ends early`)
        }),
      )
      return out
    },
    async *scan(batchRows, first = 0) {
      for (const { segment, from, count } of pieces(batchRows, first))
        yield { first: segment.first + from, rows: await tableRows(segment, from, count) }
    },
    async *scanVectors(batchRows, first = 0) {
      for (const { segment, from, count } of pieces(batchRows, first))
        yield { first: segment.first + from, rows: count, vectors: await readVectors(segment, from, count) }
    },
    async hold() {
      const names = segments.flatMap(({ vectors, table, offsets }) => [vectors.name, table.name, offsets.name])
      await Promise.all(names.map(handle)).catch((error: unknown) => {
        throw damaged(folder, 'its files cannot be opened', error)
      })
    },
    async close() {
      const open = await Promise.allSettled(handles.values())
      await Promise.allSettled(open.map((result) => (result.status === 'fulfilled' ? result.value.close() : undefined)))
    },
  }
}
