/**
 * `vtp index`: embedding shards → an index. Segments are written one after another, the HNSW graph is saved
 * now and then: a build that was stopped goes on from there when the same command runs again. No file of the
 * index that is there is ever written to (`buildKey`), and `index.json` is replaced at the very end, so a
 * search sees the old index or the new.
 *
 * Memory: a batch of rows, and for HNSW the graph itself (`hnswBytes`).
 */
import { createHash } from 'node:crypto'
import { readdir, readFile, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { usageError, VtpError } from '../errors.js'
import { removeLeftOvers } from '../io/atomic.js'
import { claimWhenFree } from '../io/claim.js'
import { openLocalStore } from '../io/local-store.js'
import { vtpVersion } from '../version.js'
import { type BuildProgress, buildGraph } from './build-graph.js'
import { writeExactGraph } from './exact.js'
import { type HnswSettings, hnswBytes } from './hnsw.js'
import { buildLance, dropOtherTables } from './lance.js'
import {
  assertLocal,
  INDEX_FILE,
  type IndexFile,
  type IndexKind,
  type Manifest,
  manifestFiles,
  requireManifest,
  type Segment,
  saveManifest,
} from './manifest.js'
import { openRows } from './row-reader.js'
import { SEGMENT_ROWS } from './segments.js'
import { type EmbeddingSet, inspectEmbeddings, type ShardInfo } from './shard-rows.js'
import { writeSegments } from './write-segments.js'

export interface BuildRequest {
  /** Folders or shards, as `vtp embed` writes them. */
  embeddings: string[]
  /** Folder of the index. */
  out: string
  kind: IndexKind
  column?: string
  hnsw: HnswSettings
  threads: number
  append: boolean
  /** Where the embeddings' model was found, for searches to come. */
  modelRef?: string
  /** Bytes that an HNSW graph may take. */
  memoryBytes: number
  /** Rows per segment; for tests. */
  segmentRows?: number
  stop?: AbortSignal
  onProgress?: (progress: BuildProgress) => void
  onNote?: (line: string) => void
}

export interface BuildResult {
  manifest: Manifest
  /** Rows that this call added. */
  added: number
  bytes: number
  seconds: number
  interrupted: boolean
}

/** One build at a time in a folder: a second one waits. Throws usage errors, and VtpErrors for disks and damaged files. */
export async function buildIndex(request: BuildRequest): Promise<BuildResult> {
  const { out } = request
  await assertPlace(out)
  if (request.append) await requireManifest(out)
  const claim = await claimWhenFree(out, {
    signal: request.stop,
    onBusy: () => request.onNote?.(`Another process builds ${out}: waiting for it.`),
  })
  try {
    return await build(request)
  } finally {
    await claim.release()
  }
}

async function build(request: BuildRequest): Promise<BuildResult> {
  const began = performance.now()
  const { out } = request
  const there = request.append ? await requireManifest(out) : await requireManifest(out).catch(() => undefined)
  const set = await inspectEmbeddings(
    request.embeddings,
    request.column ?? (request.append ? there?.column : undefined),
    there?.shards,
  )
  const base = request.append ? assertAppendable(there!, set, request) : undefined
  const shards = base ? newShards(base, set, out) : set.shards
  const result = (manifest: Manifest, added: number, interrupted = false): BuildResult => ({
    manifest,
    added,
    bytes: manifestFiles(manifest).reduce((sum, file) => sum + file.bytes, 0),
    seconds: (performance.now() - began) / 1000,
    interrupted,
  })
  const same = there && isSameIndex(there, set, request) && (await isIntact(out, manifestFiles(there)))
  if (same || shards.length === 0) {
    request.onNote?.(`Nothing is left to do: ${out} holds these shards already.`)
    return result(there!, 0)
  }
  const rows = shards.reduce((sum, shard) => sum + shard.rows, 0)
  const total = (base?.rows ?? 0) + rows
  const hnsw = base?.hnsw ? grownSettings(base.hnsw, request) : request.hnsw
  if (request.kind === 'hnsw') assertMemory(total, set.dim, hnsw, request.memoryBytes)

  const key = await buildKey(request, set, shards, base)
  const reused = await sameSegments(there, set, request)
  if (reused) request.onNote?.('The vectors are those of the index that is there: they are not copied again.')
  const segments = reused ?? (await writeSegments(request, set, shards, key, base?.rows ?? 0))
  if (!segments) return result(base ?? emptyManifest(set, request), 0, true)
  const manifest: Manifest = {
    ...emptyManifest(set, request),
    ...(base ? { model: base.model, classes: base.classes ?? set.classes } : {}),
    rows: total,
    shards: [...(base?.shards ?? []), ...shards],
    segments: [...(base?.segments ?? []), ...segments],
  }
  if (request.kind === 'hnsw') {
    const file = await buildGraph({ ...request, hnsw }, manifest, key, base)
    if (!file) return result(manifest, 0, true)
    manifest.hnsw = { file, ...hnsw }
  }
  if (request.kind === 'lancedb') {
    const reader = openRows(out, set.dim, manifest.segments)
    try {
      manifest.lancedb = await buildLance(out, manifest, reader, { key, base, onProgress: request.onProgress })
    } finally {
      await reader.close()
    }
  }
  if (!reused) for (const segment of segments) await writeExactGraph(out, segment, set.dim)
  await saveManifest(out, manifest)
  await removeLeftovers(out, manifest)
  await removeLeftOvers(out)
  if (manifest.lancedb) await dropOtherTables(out, manifest.lancedb)
  return result(manifest, rows)
}

/** What a shard is: its place and its content. Older indexes know size and time instead of content. */
const shardId = ({ path: file, rows, digest }: ShardInfo): string => JSON.stringify([file, rows, digest])

/**
 * The shards that the index does not hold. One whose content it has is known, whatever its name or its time.
 * Throws usage error `shard_changed` for another content under a known name: its old rows would stay.
 */
function newShards(base: Manifest, set: EmbeddingSet, out: string): ShardInfo[] {
  const isKnown = (shard: ShardInfo, old: ShardInfo): boolean =>
    old.digest
      ? old.digest === shard.digest
      : old.path === shard.path && old.bytes === shard.bytes && old.mtimeMs === shard.mtimeMs
  const shards = set.shards.filter((shard) => !base.shards.some((old) => isKnown(shard, old)))
  const changed = shards.find((shard) => base.shards.some((old) => old.path === shard.path))
  if (changed) {
    throw usageError('shard_changed', `${changed.path} has changed since ${out} was built from it`, [
      `build the index again from all embeddings: vtp index EMBEDDINGS --out ${out}`,
    ])
  }
  return shards
}

/** Whether the files hold the bytes that were written. */
async function isIntact(out: string, files: readonly IndexFile[]): Promise<boolean> {
  const store = openLocalStore(out)
  for (const { name, sha256 } of files) if ((await store.sha256(name).catch(() => undefined)) !== sha256) return false
  return true
}

const sameContent = (there: Manifest, set: EmbeddingSet): boolean =>
  there.column === set.column &&
  there.dim === set.dim &&
  there.model?.digest === set.provenance['vtp.model_digest'] &&
  JSON.stringify(there.shards.map(shardId)) === JSON.stringify(set.shards.map(shardId))

/** The segments of the index that is there, when a new one would hold the same. */
async function sameSegments(
  there: Manifest | undefined,
  set: EmbeddingSet,
  request: BuildRequest,
): Promise<Segment[] | undefined> {
  if (!there || request.append || !sameContent(there, set)) return undefined
  const files = manifestFiles({ ...there, hnsw: null })
  return (await isIntact(request.out, files)) ? there.segments : undefined
}

function isSameIndex(there: Manifest, set: EmbeddingSet, request: BuildRequest): boolean {
  const { storage, connectivity, expansionAdd } = request.hnsw
  const graph = there.hnsw
  const sameGraph =
    request.kind !== 'hnsw' ||
    (graph?.storage === storage && graph.connectivity === connectivity && graph.expansionAdd === expansionAdd)
  return (
    !request.append &&
    there.kind === request.kind &&
    sameGraph &&
    (request.modelRef === undefined || there.model?.ref === request.modelRef) &&
    sameContent(there, set)
  )
}

function emptyManifest(set: EmbeddingSet, request: BuildRequest): Manifest {
  const digest = set.provenance['vtp.model_digest']
  const name = set.provenance['vtp.model']
  return {
    version: 1,
    kind: request.kind,
    rows: 0,
    dim: set.dim,
    column: set.column,
    model: digest && name ? { name, digest, ...(request.modelRef ? { ref: request.modelRef } : {}) } : null,
    transform: set.provenance['vtp.transform'] ?? null,
    classes: set.classes,
    shards: [],
    segments: [],
    hnsw: null,
    lancedb: null,
    vtp: vtpVersion(),
  }
}

async function assertPlace(out: string): Promise<void> {
  assertLocal(out)
  const plan = await stat(path.join(out, '_vtp', 'plan.json')).catch(() => undefined)
  if (plan) {
    throw usageError('out_holds_run', `${out} holds embeddings: an index needs a folder of its own`, [
      'choose another --out folder',
    ])
  }
  const info = await stat(out).catch(() => undefined)
  if (info && !info.isDirectory()) throw usageError('out_is_file', `${out} is a file`, ['choose another --out folder'])
}

function assertAppendable(there: Manifest, set: EmbeddingSet, request: BuildRequest): Manifest {
  const digest = set.provenance['vtp.model_digest']
  const differs =
    there.dim !== set.dim
      ? `vectors of ${set.dim} dimensions; the index has ${there.dim}`
      : there.model && digest && there.model.digest !== digest
        ? `embeddings of another model than ${there.model.name}`
        : there.column !== set.column
          ? `the column ${set.column}; the index has ${there.column}`
          : there.kind !== request.kind
            ? `--kind ${request.kind}; the index is of kind ${there.kind}`
            : undefined
  if (differs) {
    throw usageError('cannot_append', `${request.out} cannot take ${differs}`, [
      'build another index with another --out',
    ])
  }
  return there
}

/** A graph that grows keeps its storage and its links. */
function grownSettings({ storage, connectivity }: HnswSettings, request: BuildRequest): HnswSettings {
  const { hnsw, out, onNote } = request
  if (storage !== hnsw.storage || connectivity !== hnsw.connectivity)
    onNote?.(`The graph of ${out} stays as it was begun: ${storage}, ${connectivity} links per node.`)
  return { ...hnsw, storage, connectivity }
}

function assertMemory(rows: number, dim: number, settings: HnswSettings, memoryBytes: number): void {
  const bytes = hnswBytes(rows, dim, settings)
  if (bytes <= memoryBytes) return
  const gib = (value: number): string => `${(value / 2 ** 30).toFixed(1)} GiB`
  throw new VtpError(
    `An HNSW graph of ${rows} × ${dim} vectors takes about ${gib(bytes)} of memory while it is built; ${gib(memoryBytes)} are free`,
    {
      code: 'index_memory',
      suggestions: [
        'use --storage int8, which needs half as much',
        'use --kind lancedb, whose index lies on disk, or --kind exact',
      ],
    },
  )
}

/**
 * Part of the names of a build's files: the same for the same work on top of the same index, so that a stopped
 * build finds its own, and never that of an index that is there, whose files may be mapped by a search.
 */
async function buildKey(
  request: BuildRequest,
  set: EmbeddingSet,
  shards: ShardInfo[],
  base: Manifest | undefined,
): Promise<string> {
  const live = await readFile(path.join(request.out, INDEX_FILE), 'utf8').catch(() => '')
  const what = [set.column, set.dim, shards.map(shardId), base?.rows ?? 0, request.segmentRows ?? SEGMENT_ROWS, live]
  return createHash('sha256').update(JSON.stringify(what)).digest('hex').slice(0, 12)
}

/** Deletes files of older builds. Never anything that is not named as a build names its files. */
async function removeLeftovers(out: string, manifest: Manifest): Promise<void> {
  const live = new Set([INDEX_FILE, ...manifestFiles(manifest).map((file) => file.name)])
  for (const segment of manifest.segments) live.add(`${segment.vectors.name}.onnx`)
  for (const name of await readdir(out)) {
    if (/^(seg|hnsw)-[0-9a-f]{12}-/.test(name) && !live.has(name)) await rm(path.join(out, name), { force: true })
  }
}
