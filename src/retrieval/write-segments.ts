/**
 * Shards → segments of an index, one after another, each sealed by a small marker, so that a build that was
 * stopped goes on behind the last one. Memory: one batch of rows.
 */
import { readFile, stat } from 'node:fs/promises'
import path from 'node:path'
import { openLocalStore } from '../io/local-store.js'
import type { BuildProgress } from './build-graph.js'
import { type Segment, segmentSchema } from './manifest.js'
import { openSegmentWriter, SEGMENT_ROWS } from './segments.js'
import { type EmbeddingSet, readShardRows, type ShardInfo } from './shard-rows.js'

export interface CopyRequest {
  /** Folder of the index. */
  out: string
  /** Rows per segment; for tests. */
  segmentRows?: number
  stop?: AbortSignal
  onProgress?: (progress: BuildProgress) => void
  onNote?: (line: string) => void
}

/** Copies vectors and rows into segments; undefined when stopped. */
export async function writeSegments(
  request: CopyRequest,
  set: EmbeddingSet,
  shards: ShardInfo[],
  key: string,
  first: number,
): Promise<Segment[] | undefined> {
  const limit = request.segmentRows ?? SEGMENT_ROWS
  const total = shards.reduce((sum, shard) => sum + shard.rows, 0)
  const segments = await sealedSegments(request.out, key)
  let done = segments.reduce((sum, segment) => sum + segment.rows, 0)
  if (done > 0) request.onNote?.(`Continuing: ${done} of ${total} rows are there.`)
  let skip = done
  let writer = await openSegmentWriter(request.out, `seg-${key}-${segments.length}`)
  const seal = async (): Promise<void> => {
    const segment = await writer.finish(first + done - writer.rows)
    const store = openLocalStore(request.out)
    await store.put(markerName(key, segments.length), Buffer.from(JSON.stringify(segment)))
    segments.push(segment)
  }
  try {
    for (const shard of shards) {
      if (skip >= shard.rows) {
        skip -= shard.rows
        continue
      }
      for await (const batch of readShardRows(shard, set.column, set.dim, skip)) {
        if (request.stop?.aborted) {
          await writer.abort()
          return undefined
        }
        for (let from = 0; from < batch.rows.length; ) {
          const count = Math.min(limit - writer.rows, batch.rows.length - from)
          const to = from + count
          await writer.append(batch.rows.slice(from, to), batch.vectors.slice(from * set.dim, to * set.dim))
          from = to
          done += count
          if (writer.rows === limit) {
            await seal()
            writer = await openSegmentWriter(request.out, `seg-${key}-${segments.length}`)
          }
        }
        request.onProgress?.({ phase: 'copy', done, total })
      }
      skip = 0
    }
    if (writer.rows > 0) await seal()
    else await writer.abort()
    return segments
  } catch (error) {
    await writer.abort()
    throw error
  }
}

const markerName = (key: string, number: number): string => `seg-${key}-${number}.done`

/** Segments of an earlier, stopped run of the same build. */
async function sealedSegments(out: string, key: string): Promise<Segment[]> {
  const segments: Segment[] = []
  for (;;) {
    const segment = await readFile(path.join(out, markerName(key, segments.length)), 'utf8')
      .then((text) => segmentSchema.parse(JSON.parse(text)))
      .catch(() => undefined)
    // No marker, or one that was cut off: the segment is written anew.
    if (!segment) return segments
    for (const { name, bytes } of [segment.vectors, segment.table, segment.offsets]) {
      const info = await stat(path.join(out, name)).catch(() => undefined)
      if (info?.size !== bytes) return segments
    }
    segments.push(segment)
  }
}
