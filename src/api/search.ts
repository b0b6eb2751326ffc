/** Searching an index by text, by image or by vector. */
import { effectiveCores } from '../engine/cores.js'
import { cpuDevice } from '../engine/device.js'
import type { Precision } from '../model/index.js'
import { type Embedder, openIndexEmbedder } from '../retrieval/embedder.js'
import type { RowFilter } from '../retrieval/filters.js'
import { describeHits, type HitJson } from '../retrieval/hits.js'
import { openIndex as openIndexFolder } from '../retrieval/open-index.js'

export interface OpenIndexOptions {
  /** The model for queries; default the index's own, where it is known. */
  model?: string
  /** Its arithmetic, on the CPU: `fp32` (the default) or `int8`. */
  precision?: Precision
  /** Threads; default one per core. */
  threads?: number
  onNote?: (line: string) => void
}

/** A text, an encoded image (JPEG, PNG, …), or a unit vector of the index's width. */
export type Query = string | Uint8Array | Float32Array

export interface SearchOptions {
  /** How many hits; default 10. */
  k?: number
  /** Only rows that meet it; the search is exact then. */
  filter?: RowFilter
  /** Compare with every vector, whatever the index has. */
  exact?: boolean
}

export interface SearchIndex {
  readonly rows: number
  /** Length of a vector. */
  readonly dim: number
  /** Names of the classes, by label, where the index knows them. */
  readonly classes: readonly string[] | undefined
  /** The nearest rows, best first. The model is opened by the first text or image. */
  search(query: Query, options?: SearchOptions): Promise<HitJson[]>
  close(): Promise<void>
}

/** Opens an index that `vtp index` has made. Close it when you are done: it holds files and, after a query, a model. */
export async function openIndex(folder: string, options: OpenIndexOptions = {}): Promise<SearchIndex> {
  const threads = options.threads ?? effectiveCores()
  const index = await openIndexFolder(folder, { threads })
  const { rows, dim, classes } = index.manifest
  let embedder: Promise<Embedder> | undefined
  const vectorOf = async (query: Query): Promise<Float32Array> => {
    if (query instanceof Float32Array) return query
    embedder ??= openIndexEmbedder(index.manifest, {
      model: options.model,
      onNote: options.onNote,
      device: cpuDevice({ cores: threads, precision: options.precision }),
    })
    return typeof query === 'string' ? (await embedder).texts([query]) : (await embedder).image(query)
  }
  return {
    rows,
    dim,
    classes: classes ?? undefined,
    async search(query, { k = 10, filter, exact } = {}) {
      const [hits = []] = await index.search(await vectorOf(query), { k: Math.min(k, rows), filter, exact })
      return describeHits(index, hits)
    },
    async close() {
      await (await embedder?.catch(() => undefined))?.close()
      await index.close()
    },
  }
}
