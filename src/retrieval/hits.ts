/** What a person or a program is told of a hit. */
import { ROUNDING } from './duplicates.js'
import { isMissing, type OpenIndex, shardRow } from './open-index.js'
import type { Hit } from './top-k.js'

/** The stable object of a hit in `--json` and in the page's API. */
export interface HitJson {
  /** From 1. */
  rank: number
  /** Cosine similarity. */
  score: number
  /** Row id in the index. */
  row: number
  key: string
  uri: string
  label: number | null
  /** Name of the class, where the index has names. */
  className: string | null
  caption: string | null
  width: number
  height: number
  /** Where the embedding came from. */
  shard: string
  shardRow: number
  /** Whether the image's file is gone. */
  missing: boolean
}

export async function describeHits(index: OpenIndex, hits: readonly Hit[]): Promise<HitJson[]> {
  const rows = await index.reader.rows(hits.map((hit) => hit.row))
  const { manifest } = index
  return Promise.all(
    rows.map(async (row, i): Promise<HitJson> => {
      const { row: id, score } = hits[i]!
      const { key, uri, label, caption, width, height } = row
      const className = label === null ? null : (manifest.classes?.[label] ?? null)
      return {
        rank: i + 1,
        score: Number(score.toFixed(6)),
        row: id,
        key,
        uri,
        label,
        className,
        caption,
        width,
        height,
        ...shardRow(manifest, id),
        missing: await isMissing(row),
      }
    }),
  )
}

/** Leaves out hits that are near-duplicates of a better one. */
export async function dropNearDuplicates(index: OpenIndex, hits: readonly Hit[], threshold: number): Promise<Hit[]> {
  const { dim } = index.manifest
  const vectors = await index.reader.vectors(hits.map((hit) => hit.row))
  const kept: number[] = []
  hits.forEach((_, i) => {
    const near = kept.some((j) => {
      let dot = 0
      for (let d = 0; d < dim; d++) dot += vectors[i * dim + d]! * vectors[j * dim + d]!
      return dot >= threshold - ROUNDING
    })
    if (!near) kept.push(i)
  })
  return kept.map((i) => hits[i]!)
}
