/**
 * Segments: up to 2^20 rows each, as a matrix of float32 unit vectors that can be mapped into memory, and a
 * table of JSON lines with their offsets. Memory while writing: one batch of rows.
 */
import { rm } from 'node:fs/promises'
import path from 'node:path'
import { type FileSink, openFileSink } from '../io/shards/file-sink.js'
import { float16ToFloat32 } from '../math/half.js'
import type { Location, RowMeta, TensorData } from '../types.js'
import type { IndexFile, Segment } from './manifest.js'

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
