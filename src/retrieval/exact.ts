/**
 * Exact search: the product of queries and all vectors, by ONNX Runtime over the segments' files, which it
 * maps into memory and does not copy. Memory besides the page cache: the scores of one block of queries
 * (`SCORES` floats at most).
 */
import { access } from 'node:fs/promises'
import path from 'node:path'
import { openSession, type Session } from '../engine/session.js'
import { GraphBuilder } from '../graph/builder.js'
import { openLocalStore } from '../io/local-store.js'
import type { Manifest, Segment } from './manifest.js'
import { createTopK, type Hit } from './top-k.js'

/** Floats of scores at once: 64 MiB. */
const SCORES = 2 ** 24

export interface ExactSearch {
  /** The k nearest rows of each query, float32 [queries, dim], best first. */
  search(queries: Float32Array, k: number, mask?: Uint8Array): Promise<Hit[][]>
  /** Calls `visit` with the scores of one query after another against each segment. */
  scores(queries: Float32Array, visit: (query: number, first: number, scores: Float32Array) => void): Promise<void>
  /** Maps every segment now: it stays there when a later build deletes the file. */
  hold(): Promise<void>
  close(): Promise<void>
}

/** Writes the graph beside the vectors: ONNX Runtime only maps files that lie there. */
export async function writeExactGraph(folder: string, segment: Segment, dim: number): Promise<void> {
  const graph = new GraphBuilder()
  const vectors = graph.weight('vectors', [segment.rows, dim], async () => new Float32Array())
  const queries = graph.input({ name: 'queries', dtype: 'float32', shape: ['N', dim] })
  const scores = graph.op('Gemm', [queries, vectors], { transB: 1 })
  graph.output(scores, { name: 'scores', dtype: 'float32', shape: ['N', segment.rows] })
  await openLocalStore(folder).put(`${segment.vectors.name}.onnx`, graph.encode(segment.vectors.name))
}

export function openExact(folder: string, manifest: Manifest, threads: number): ExactSearch {
  const { dim, segments } = manifest
  const sessions = new Map<Segment, Promise<Session>>()
  const session = (segment: Segment): Promise<Session> => {
    let found = sessions.get(segment)
    if (!found) {
      const file = path.join(folder, `${segment.vectors.name}.onnx`)
      found = access(file)
        .catch(() => writeExactGraph(folder, segment, dim))
        .then(() => openSession({ path: file, providers: ['cpu'], threads, mapped: true }))
      found.catch(() => sessions.delete(segment))
      sessions.set(segment, found)
    }
    return found
  }
  const scores: ExactSearch['scores'] = async (queries, visit) => {
    const count = queries.length / dim
    for (const segment of segments) {
      const opened = await session(segment)
      const block = Math.max(1, Math.floor(SCORES / segment.rows))
      for (let start = 0; start < count; start += block) {
        const rows = Math.min(block, count - start)
        const data = queries.slice(start * dim, (start + rows) * dim)
        const { outputs } = await opened.run({ queries: { data, dtype: 'float32', dims: [rows, dim] } })
        const all = outputs.scores!.data as Float32Array
        for (let q = 0; q < rows; q++)
          visit(start + q, segment.first, all.subarray(q * segment.rows, (q + 1) * segment.rows))
      }
    }
  }
  return {
    scores,
    async hold() {
      for (const segment of segments) await session(segment)
    },
    async search(queries, k, mask) {
      const best = Array.from({ length: queries.length / dim }, () => createTopK(k))
      await scores(queries, (query, first, values) => best[query]!.add(values, first, mask))
      return best.map((top) => top.hits())
    },
    async close() {
      const opened = await Promise.allSettled(sessions.values())
      await Promise.allSettled(opened.map((r) => (r.status === 'fulfilled' ? r.value.close() : undefined)))
    },
  }
}
