/**
 * Approximate search with usearch's HNSW graph (Malkov & Yashunin, arXiv:1603.09320). Keys are row ids. When
 * searching, the file is mapped into memory; when building, the graph is in memory (`hnswBytes`).
 */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import path from 'node:path'
import { Index, MetricKind, ScalarKind } from 'usearch'
import { errorText } from '../errors.js'
import { damaged, type Manifest, type Storage } from './manifest.js'
import { rescore } from './rescore.js'
import type { RowReader } from './row-reader.js'
import type { Hit } from './top-k.js'

/**
 * How usearch keeps and compares vectors. They are unit vectors, so the inner product orders them as the cosine
 * does, for less work; storages that older indexes have keep the metric that those were built with.
 */
const KINDS = {
  bfloat16: { scalar: ScalarKind.BF16, bytes: 2, metric: MetricKind.IP },
  float16: { scalar: ScalarKind.F16, bytes: 2, metric: MetricKind.Cos },
  int8: { scalar: ScalarKind.I8, bytes: 1, metric: MetricKind.Cos },
  float32: { scalar: ScalarKind.F32, bytes: 4, metric: MetricKind.Cos },
} as const satisfies Record<Storage, object>
/** Rows that a search asks of the graph beyond k: rounding of the stored vectors may swap those near the k-th. */
const MARGIN = 16
/** A damaged graph could crash the process, so a file up to this size is checked before it is mapped. */
const CHECK_BYTES = 2 ** 30

export interface HnswSettings {
  storage: Storage
  /** Links per node (M). */
  connectivity: number
  /** Candidates when adding (efConstruction). */
  expansionAdd: number
  /** Candidates when searching (ef). */
  expansionSearch: number
}

export const HNSW_DEFAULTS: HnswSettings = {
  storage: 'bfloat16',
  connectivity: 16,
  expansionAdd: 128,
  expansionSearch: 128,
}

export function createHnsw(dim: number, settings: HnswSettings): Index {
  const { scalar, metric } = KINDS[settings.storage]
  return new Index({
    dimensions: dim,
    metric,
    quantization: scalar,
    connectivity: settings.connectivity,
    expansion_add: settings.expansionAdd,
    expansion_search: settings.expansionSearch,
    multi: false,
  })
}

/** Memory (and about the file size) of a graph: vectors, then 2M links on the base level and the levels above, 5 bytes each. */
export function hnswBytes(rows: number, dim: number, { storage, connectivity }: HnswSettings): number {
  return rows * (dim * KINDS[storage].bytes + connectivity * 2 * 5 * 1.1 + 32)
}

export interface HnswSearch {
  search(queries: Float32Array, k: number): Promise<Hit[][]>
}

async function sha256(file: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer)
  return hash.digest('hex')
}

/** Maps the graph. Distances are computed again from the exact vectors, so storage does not show in scores. */
export async function openHnsw(folder: string, manifest: Manifest, rows: RowReader): Promise<HnswSearch> {
  const { dim, hnsw } = manifest
  const { file } = hnsw!
  const where = path.join(folder, file.name)
  if (file.bytes <= CHECK_BYTES && (await sha256(where)) !== file.sha256)
    throw damaged(folder, `${file.name} has other bytes than were written`)
  const index = createHnsw(dim, hnsw!)
  try {
    index.view(where)
  } catch (error) {
    throw damaged(folder, `${file.name} cannot be opened (${errorText(error)})`, error)
  }
  return {
    async search(queries, k) {
      const out: Hit[][] = []
      for (let start = 0; start < queries.length; start += dim) {
        const query = queries.slice(start, start + dim)
        const { keys } = index.search(query, Math.min(k + MARGIN, Math.max(1, index.size())), 1)
        const ids = [...keys].map(Number).filter((id) => id < manifest.rows)
        out.push((await rescore(query, ids, rows)).slice(0, k))
      }
      return out
    },
  }
}
