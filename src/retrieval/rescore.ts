/** Hits of an approximate search with exact scores. */
import type { RowReader } from './row-reader.js'
import type { Hit } from './top-k.js'

/** Cosines of a unit query with the rows' vectors, best first. */
export async function rescore(query: Float32Array, ids: readonly number[], reader: RowReader): Promise<Hit[]> {
  const vectors = await reader.vectors(ids)
  const dim = query.length
  const hits = ids.map((row, i): Hit => {
    let score = 0
    for (let d = 0; d < dim; d++) score += query[d]! * vectors[i * dim + d]!
    return { row, score: Math.fround(score) }
  })
  return hits.sort((a, b) => b.score - a.score || a.row - b.row)
}
