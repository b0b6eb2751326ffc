/** The rows of embedding shards, with where each image's bytes are when the folder's run has kept its listing. */
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { usageError } from '../errors.js'
import { parseListingEntry } from '../io/listing.js'
import { openLocalStore } from '../io/local-store.js'
import { openStore } from '../io/open-store.js'
import { openRangeReader } from '../io/range-reader.js'
import { findShards, openShard, type Shard } from '../io/shards/index.js'
import { uriScheme } from '../io/store.js'
import { loadPlan, type Plan } from '../pipeline/ledger/plan.js'
import type { Location, TensorColumn } from '../types.js'
import { type IndexRow, toIndexRow, unitVectors } from './segments.js'

export interface ShardInfo {
  path: string
  rows: number
  bytes: number
  mtimeMs: number
  /** Of the content; see the manifest. */
  digest?: string
}

export interface EmbeddingSet {
  shards: ShardInfo[]
  dim: number
  column: string
  provenance: Record<string, string>
  classes: string[] | null
}

/** The column that holds embeddings: the one asked for, or the only one that can be meant. */
export function embeddingColumn(shard: Shard, wanted: string | undefined): TensorColumn {
  const vectors = shard.columns.filter((c) => c.shape.length === 1 && c.dtype.startsWith('float'))
  const found = wanted
    ? vectors.find((c) => c.name === wanted)
    : (vectors.find((c) => c.name === 'clip') ?? (vectors.length === 1 ? vectors[0] : undefined))
  if (found) return found
  const names = vectors.map((c) => c.name).join(', ') || 'none'
  throw usageError('no_embeddings', `${shard.path} has no vector column ${wanted ? `"${wanted}"` : 'named clip'}`, [
    `its vector columns: ${names}; choose one with --column`,
    'embed images with `vtp embed`, or encode with --outputs clip',
  ])
}

/**
 * Looks at every shard's header, and takes its digest, which is not computed again for files of `known` with the
 * same size and time. Throws usage errors for folders without embeddings, or of different sizes.
 */
export async function inspectEmbeddings(
  inputs: readonly string[],
  column: string | undefined,
  known: readonly ShardInfo[] = [],
): Promise<EmbeddingSet> {
  const shards: ShardInfo[] = []
  let first: { dim: number; column: string; provenance: Record<string, string> } | undefined
  let classes: string[] | null = null
  for (const input of inputs) {
    const remote = uriScheme(input) !== undefined
    const info = remote ? undefined : await stat(input).catch(() => undefined)
    if (!info && !remote) {
      throw usageError('input_missing', `${input} does not exist`, ['give the --out folder of `vtp embed`'])
    }
    classes ??= (await runPlan(input))?.plan.classes ?? null
    for (const file of await findShards(input)) {
      const shard = await openShard(file)
      try {
        const found = embeddingColumn(shard, column ?? first?.column)
        const dim = found.shape[0]!
        first ??= { dim, column: found.name, provenance: shard.provenance }
        const digest = shard.provenance['vtp.model_digest']
        if (dim !== first.dim || digest !== first.provenance['vtp.model_digest']) {
          throw usageError('mixed_embeddings', `${file} holds embeddings of another model than the shards before it`, [
            'build one index per model',
          ])
        }
        if (shard.rows === 0) continue
        const name = remote ? file : path.resolve(file)
        // The same folder twice, or a folder and a shard of it.
        if (shards.some((other) => other.path === name)) continue
        shards.push({ path: name, rows: shard.rows, ...(await identify(name, known)) })
      } finally {
        await shard.close()
      }
    }
  }
  if (!first || shards.length === 0) throw usageError('no_embeddings', `${inputs.join(', ')} holds no rows`)
  return { shards, ...first, classes }
}

async function identify(file: string, known: readonly ShardInfo[]): Promise<Omit<ShardInfo, 'path' | 'rows'>> {
  if (uriScheme(file) !== undefined) {
    const { size, etag, close } = await openRangeReader(file)
    await close()
    return { bytes: size, mtimeMs: 0, digest: `etag:${etag ?? ''}` }
  }
  const { size: bytes, mtimeMs } = await stat(file)
  const same = known.find((old) => old.path === file && old.bytes === bytes && old.mtimeMs === mtimeMs)
  const digest = same?.digest ?? (await openLocalStore(path.dirname(file)).sha256(path.basename(file)))
  return { bytes, mtimeMs, digest }
}

async function runPlan(folder: string): Promise<{ plan: Plan; folder: string } | undefined> {
  if (uriScheme(folder) === undefined && !(await stat(folder)).isDirectory()) return undefined
  if (/\.(parquet|arrow|safetensors|npy)$/.test(folder)) return undefined
  const plan = await loadPlan(await openStore(folder)).catch(() => undefined)
  return plan && { plan, folder }
}

/** Yields the rows of a shard from `skip` on, with unit vectors float32 [rows, dim]. */
export async function* readShardRows(
  info: ShardInfo,
  column: string,
  dim: number,
  skip: number,
): AsyncGenerator<{ rows: IndexRow[]; vectors: Float32Array }> {
  const shard = await openShard(info.path)
  const locate = await openLocator(info.path)
  try {
    let seen = 0
    for await (const batch of shard.read([column], 1024)) {
      const rows = batch.rows.map((row) => toIndexRow(row, locate(row.key)))
      const vectors = unitVectors(batch.tensors[column]!, dim)
      const drop = Math.max(0, Math.min(rows.length, skip - seen))
      seen += rows.length
      if (drop < rows.length) yield { rows: rows.slice(drop), vectors: vectors.subarray(drop * dim) }
    }
  } finally {
    await shard.close()
  }
}

/** Finds each row's entry in the run's listing, walking along with the rows. */
async function openLocator(file: string): Promise<(key: string) => Location | undefined> {
  const number = /(?:part-|_emb_)(\d+)\.\w+$/.exec(file)?.[1]
  // dirname keeps the double slash of s3://.
  const folder = file.endsWith('.npy') ? path.dirname(path.dirname(file)) : path.dirname(file)
  const run = await runPlan(folder).catch(() => undefined)
  const unit = run?.plan.units[Number(number)]
  if (number === undefined || !run || !unit) return () => undefined
  const store = await openStore(folder)
  const bytes = await store
    .get(run.plan.listingFile, { offset: unit.offset, size: unit.bytes })
    .catch(() => new Uint8Array())
  const lines = Buffer.from(bytes).toString().split('\n').slice(0, -1)
  let at = 0
  return (key) => {
    while (at < lines.length) {
      const entry = parseListingEntry(lines[at++]!)
      if (entry.key === key) return entry.at
    }
    return undefined
  }
}
