/**
 * LanceDB as an index on disk: IVF-PQ, for what outgrows memory. It is a plugin: 180 MB of libraries that are
 * loaded when they are there, and asked for when they are not.
 */

import { createRequire } from 'node:module'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { VtpError } from '../errors.js'
import type { Manifest } from './manifest.js'
import { rescore } from './rescore.js'
import type { RowReader } from './row-reader.js'
import type { Hit } from './top-k.js'

/** The last release for Node 20. */
export const LANCEDB = '@lancedb/lancedb@0.37.1'
/** Tables of builds, one per whole build; the manifest names the one that is searched. */
const TABLE = /^vectors(-[0-9a-f]{12})?$/
/** Below this LanceDB searches faster without an index, and exactly. */
const INDEX_ROWS = 50_000

/** Partitions that are searched, and candidates per result whose full vectors are compared. */
const PROBES = 64
const REFINE = 20

/** Codes of 4 dimensions each (8 of 16 would lose half of the neighbours); undefined leaves it to LanceDB. */
function subVectors(dim: number): number | undefined {
  return dim % 4 === 0 ? dim / 4 : undefined
}

/** The part of @lancedb/lancedb's interface that is used. */
interface LanceTable {
  add(data: unknown): Promise<unknown>
  countRows(): Promise<number>
  createIndex(column: string, options: unknown): Promise<void>
  optimize(): Promise<unknown>
  delete(predicate: string): Promise<unknown>
  vectorSearch(vector: Float32Array): LanceQuery
  close(): void
}
interface LanceQuery {
  distanceType(type: string): LanceQuery
  nprobes(count: number): LanceQuery
  refineFactor(factor: number): LanceQuery
  limit(count: number): LanceQuery
  select(columns: string[]): LanceQuery
  toArray(): Promise<{ id: number | bigint }[]>
}
interface LanceModule {
  connect(uri: string): Promise<{
    createTable(name: string, data: unknown, options?: { mode?: string }): Promise<LanceTable>
    openTable(name: string): Promise<LanceTable>
    tableNames(): Promise<string[]>
    dropTable(name: string): Promise<void>
    close(): void
  }>
  Index: { ivfPq(options: Record<string, unknown>): unknown }
}

/** From the project of the working directory, or from beside this program. Throws VtpError `no_lancedb`. */
export async function loadLance(): Promise<LanceModule> {
  for (const base of [path.join(process.cwd(), 'package.json'), import.meta.url]) {
    try {
      const file = createRequire(base).resolve('@lancedb/lancedb')
      const loaded = (await import(pathToFileURL(file).href)) as LanceModule & { default?: LanceModule }
      return typeof loaded.connect === 'function' ? loaded : loaded.default!
    } catch (error) {
      if (!['MODULE_NOT_FOUND', 'ERR_MODULE_NOT_FOUND'].includes((error as { code?: string }).code ?? '')) throw error
    }
  }
  throw new VtpError('LanceDB is not installed', {
    code: 'no_lancedb',
    exitCode: 2,
    suggestions: [
      `install it where you run vtp: npm install ${LANCEDB} apache-arrow@18.1.0`,
      'use --kind hnsw or --kind exact, which need nothing more',
    ],
  })
}

/** Adds the rows that `base` has not, and indexes the vectors when there are enough. */
export async function buildLance(
  folder: string,
  manifest: Manifest,
  reader: RowReader,
  options: {
    /** Of the build; part of a new table's name. */
    key: string
    /** The index that grows. */
    base?: Manifest
    onProgress?: (progress: { phase: 'graph'; done: number; total: number }) => void
  },
): Promise<{ uri: string; table: string }> {
  const { base, onProgress } = options
  const first = base?.rows ?? 0
  const name = base?.lancedb?.table ?? `vectors-${options.key}`
  const lance = await loadLance()
  const { Table, RecordBatch, Schema, Field, FixedSizeList, Float32, Int32, Struct, makeData } = await import(
    'apache-arrow'
  )
  const { dim } = manifest
  const list = new FixedSizeList(dim, new Field('item', new Float32(), true))
  const schema = new Schema([new Field('id', new Int32(), false), new Field('vector', list, false)])
  const connection = await lance.connect(path.join(folder, 'lancedb'))
  let table: LanceTable | undefined
  if (first > 0) {
    table = await connection.openTable(name)
    // Rows of a build that was stopped before its manifest.
    await table.delete(`id >= ${first}`)
  }
  try {
    for await (const batch of reader.scanVectors(16_384, first)) {
      const ids = Int32Array.from({ length: batch.rows }, (_, i) => batch.first + i)
      const child = makeData({ type: new Float32(), length: batch.vectors.length, nullCount: 0, data: batch.vectors })
      const children = [
        makeData({ type: new Int32(), length: batch.rows, nullCount: 0, data: ids }),
        makeData({ type: list, length: batch.rows, nullCount: 0, child }),
      ]
      const data = makeData({ type: new Struct(schema.fields), length: batch.rows, nullCount: 0, children })
      const rows = new Table([new RecordBatch(schema, data)])
      if (table) await table.add(rows)
      else table = await connection.createTable(name, rows, { mode: 'overwrite' })
      onProgress?.({ phase: 'graph', done: batch.first + batch.rows, total: manifest.rows })
    }
    if (manifest.rows >= INDEX_ROWS) {
      if (first > 0) await table!.optimize()
      else
        await table!.createIndex('vector', {
          config: lance.Index.ivfPq({ distanceType: 'cosine', numSubVectors: subVectors(dim) }),
        })
    }
  } finally {
    table?.close()
    connection.close()
  }
  return { uri: 'lancedb', table: name }
}

/** Deletes the tables of older builds, once the manifest names the new one. */
export async function dropOtherTables(folder: string, live: { uri: string; table: string }): Promise<void> {
  const connection = await (await loadLance()).connect(path.join(folder, live.uri))
  try {
    for (const name of await connection.tableNames())
      if (name !== live.table && TABLE.test(name)) await connection.dropTable(name)
  } finally {
    connection.close()
  }
}

export interface LanceSearch {
  search(queries: Float32Array, k: number): Promise<Hit[][]>
  close(): void
}

/** Candidates come from LanceDB; scores are computed again from the exact vectors. */
export async function openLance(folder: string, manifest: Manifest, reader: RowReader): Promise<LanceSearch> {
  const lance = await loadLance()
  const connection = await lance.connect(path.join(folder, manifest.lancedb!.uri))
  const table = await connection.openTable(manifest.lancedb!.table)
  const { dim } = manifest
  return {
    async search(queries, k) {
      const out: Hit[][] = []
      for (let start = 0; start < queries.length; start += dim) {
        const query = queries.slice(start, start + dim)
        const found = await table
          .vectorSearch(query)
          .distanceType('cosine')
          .nprobes(PROBES)
          .refineFactor(REFINE)
          .limit(k)
          .select(['id', '_distance'])
          .toArray()
        // Rows of an --append that has not come to its end have no place in this index yet.
        const ids = found.map((row) => Number(row.id)).filter((id) => id < manifest.rows)
        out.push(await rescore(query, ids, reader))
      }
      return out
    },
    close() {
      table.close()
      connection.close()
    },
  }
}
