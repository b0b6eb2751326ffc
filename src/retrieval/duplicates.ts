/**
 * Groups of near-duplicates: rows whose cosine similarity reaches a threshold are linked, and a group is what
 * hangs together. With a graph (HNSW) each row is compared with its nearest neighbours, otherwise with all.
 */
import type { OpenIndex } from './open-index.js'

export interface DuplicateOptions {
  /** Cosine similarity, up to 1. */
  threshold: number
  /** Compare all pairs, whatever the index has. */
  exact?: boolean
  stop?: AbortSignal
  onProgress?: (done: number, total: number) => void
}

export interface DuplicateGroup {
  /** Row ids, ascending. */
  rows: number[]
  /** The least similar pair that links the group. */
  score: number
}

/** Nearest neighbours that are looked at in a graph. */
const NEIGHBOURS = 32
const BLOCK = 256
/** Of a product of unit vectors in float32. */
export const ROUNDING = 1e-6

/** Groups of two or more rows, largest first. */
export async function findDuplicates(index: OpenIndex, options: DuplicateOptions): Promise<DuplicateGroup[]> {
  const { manifest, reader, exact } = index
  // A vector times itself is 1 but for rounding.
  const threshold = options.threshold - ROUNDING
  const parent = Uint32Array.from({ length: manifest.rows }, (_, i) => i)
  const weakest = new Map<number, number>()
  const find = (row: number): number => {
    while (parent[row] !== row) {
      parent[row] = parent[parent[row]!]!
      row = parent[row]!
    }
    return row
  }
  const link = (a: number, b: number, score: number): void => {
    const [x, y] = [find(a), find(b)]
    if (x === y) return
    const [root, child] = x < y ? [x, y] : [y, x]
    parent[child] = root
    weakest.set(root, Math.min(score, weakest.get(root) ?? 1, weakest.get(child) ?? 1))
    weakest.delete(child)
  }
  const graph = manifest.kind !== 'exact' && !options.exact
  for await (const block of reader.scanVectors(BLOCK)) {
    if (options.stop?.aborted) break
    if (graph) {
      const found = await index.search(block.vectors, { k: NEIGHBOURS })
      found.forEach((hits, i) => {
        for (const { row, score } of hits)
          if (row !== block.first + i && score >= threshold) link(block.first + i, row, score)
      })
    } else {
      await exact.scores(block.vectors, (query, first, scores) => {
        const self = block.first + query
        // Each pair once: with the rows after this one.
        for (let i = Math.max(0, self + 1 - first); i < scores.length; i++)
          if (scores[i]! >= threshold) link(self, first + i, scores[i]!)
      })
    }
    options.onProgress?.(block.first + block.rows, manifest.rows)
  }
  const groups = new Map<number, number[]>()
  for (let row = 0; row < manifest.rows; row++) {
    const root = find(row)
    if (!weakest.has(root)) continue
    const rows = groups.get(root)
    if (rows) rows.push(row)
    else groups.set(root, [row])
  }
  return [...groups]
    .map(([root, rows]) => ({ rows, score: weakest.get(root)! }))
    .sort((a, b) => b.rows.length - a.rows.length || a.rows[0]! - b.rows[0]!)
}
