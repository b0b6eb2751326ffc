/**
 * Segments: up to 2^20 rows each, as a matrix of float32 unit vectors that can be mapped into memory, and a
 * table of JSON lines with their offsets. Memory while writing: one batch of rows.
 */
import { readSync } from 'node:fs'
import { type FileHandle, open, rm } from 'node:fs/promises'
import path from 'node:path'
import { type FileSink, openFileSink } from '../io/shards/file-sink.js'
import { float16ToFloat32 } from '../math/half.js'
import type { Location, RowMeta, TensorData } from '../types.js'
import { damaged, type IndexFile, type Segment } from './manifest.js'

export const SEGMENT_ROWS = 2 ** 20

/** What an index knows of a row besides its vector. */
export interface IndexRow {
  key: string
  uri: string
  label: number | null
  caption: string | null
  width: number
  height: number
  /** Hex; of the source bytes. */
  sha256: string
  /** Where the image's bytes are, when the run that embedded it says so. */
  at?: Location
}

export function toIndexRow(row: RowMeta, at: Location | undefined): IndexRow {
  const { key, uri, label, caption, width, height } = row
  const sha256 = Buffer.from(row.sha256).toString('hex')
  return { key, uri, label, caption, width, height, sha256, ...(at ? { at } : {}) }
}

/** Rows of any length as unit vectors, float32 [rows, dim]; a row of zeros (or one that is not finite) is zeros. */
export function unitVectors(data: TensorData, dim: number): Float32Array {
  const values = data instanceof Uint16Array ? float16ToFloat32(data) : Float32Array.from(data)
  for (let start = 0; start < values.length; start += dim) {
    let sum = 0
    for (let i = start; i < start + dim; i++) sum += values[i]! * values[i]!
    const scale = sum > 0 && Number.isFinite(sum) ? 1 / Math.sqrt(sum) : 0
    for (let i = start; i < start + dim; i++) values[i] = scale === 0 ? 0 : values[i]! * scale
  }
  return values
}

export interface SegmentWriter {
  readonly rows: number
  append(rows: IndexRow[], vectors: Float32Array): Promise<void>
  /** Puts the files in their place. */
  finish(first: number): Promise<Segment>
  abort(): Promise<void>
}

export async function openSegmentWriter(folder: string, name: string): Promise<SegmentWriter> {
  const kinds = { vectors: 'f32', table: 'jsonl', offsets: 'idx' } as const
  const sinks = {} as Record<keyof typeof kinds, FileSink>
  for (const [kind, extension] of Object.entries(kinds) as [keyof typeof kinds, string][]) {
    const file = path.join(folder, `${name}.${extension}`)
    // What a stopped build has left goes, instead of being written over: it may be mapped.
    await rm(file, { force: true })
    sinks[kind] = await openFileSink(file)
  }
  let rows = 0
  let offset = 0n
  return {
    get rows() {
      return rows
    },
    async append(batch, vectors) {
      await sinks.vectors.write(new Uint8Array(vectors.buffer, vectors.byteOffset, vectors.byteLength))
      const lines = batch.map((row) => Buffer.from(`${JSON.stringify(row)}\n`))
      const starts = BigUint64Array.from(lines, (line) => {
        const start = offset
        offset += BigInt(line.length)
        return start
      })
      await sinks.table.write(...lines)
      await sinks.offsets.write(new Uint8Array(starts.buffer))
      rows += batch.length
    },
    async finish(first) {
      await sinks.offsets.write(new Uint8Array(BigUint64Array.of(offset).buffer))
      const close = async (sink: FileSink): Promise<IndexFile> => {
        const { path: file, bytes, sha256 } = await sink.finish()
        return { name: path.basename(file), bytes, sha256 }
      }
      const [vectors, table, offsets] = [
        await close(sinks.vectors),
        await close(sinks.table),
        await close(sinks.offsets),
      ]
      return { first, rows, vectors, table, offsets }
    },
    async abort() {
      await Promise.allSettled(Object.values(sinks).map((sink) => sink.abort()))
    },
  }
}

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
    const out = Buffer.alloc(bytes)
    const { bytesRead } = await (await handle(name)).read(out, 0, bytes, offset)
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
  return {
    rows: (ids) =>
      Promise.all(
        ids.map(async (id) => {
          const segment = segmentOf(id)
          return (await tableRows(segment, id - segment.first, 1))[0]!
        }),
      ),
    async vectors(ids) {
      const out = new Float32Array(ids.length * dim)
      await Promise.all(
        ids.map(async (id, i) => {
          const segment = segmentOf(id)
          const { fd } = await handle(segment.vectors.name)
          // A few kilobytes, mostly of the page cache: a trip through the thread pool would cost more.
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
