/**
 * `vtp index`: embedding shards → an index. Segments are written one after another, each sealed by a small
 * marker; the HNSW graph is saved now and then. A build that was stopped goes on from there when the same
 * command runs again. `index.json` is replaced at the very end, so a search sees the old index or the new.
 *
 * Memory: a batch of rows, and for HNSW the graph itself (`hnswBytes`).
 */
import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { usageError, VtpError } from '../errors.js'
import { vtpVersion } from '../version.js'
import { type BuildProgress, buildGraph } from './build-graph.js'
import { writeExactGraph } from './exact.js'
import { type HnswSettings, hnswBytes } from './hnsw.js'
import { buildLance } from './lance.js'
import {
  INDEX_FILE,
  type IndexKind,
  loadManifest,
  type Manifest,
  manifestFiles,
  requireManifest,
  type Segment,
  saveManifest,
} from './manifest.js'
import { openRows, openSegmentWriter, SEGMENT_ROWS } from './segments.js'
import { type EmbeddingSet, inspectEmbeddings, readShardRows, type ShardInfo } from './shard-rows.js'

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

/** Throws usage errors, and VtpErrors for disks and damaged files. */
export async function buildIndex(request: BuildRequest): Promise<BuildResult> {
  const began = performance.now()
  const { out } = request
  await assertPlace(out)
  const there = request.append ? await requireManifest(out) : await loadManifest(out).catch(() => undefined)
  const set = await inspectEmbeddings(
    request.embeddings,
    request.column ?? (request.append ? there?.column : undefined),
  )
  const base = request.append ? assertAppendable(there!, set, request) : undefined
  const known = new Set(base?.shards.map(shardId))
  const shards = set.shards.filter((shard) => !known.has(shardId(shard)))
  const result = (manifest: Manifest, added: number, interrupted = false): BuildResult => ({
    manifest,
    added,
    bytes: manifestFiles(manifest).reduce((sum, file) => sum + file.bytes, 0),
    seconds: (performance.now() - began) / 1000,
    interrupted,
  })
  const same = there && isSameIndex(there, set, request)
  if (same || shards.length === 0) {
    request.onNote?.(`Nothing is left to do: ${out} holds these shards already.`)
    return result(there!, 0)
  }
  const rows = shards.reduce((sum, shard) => sum + shard.rows, 0)
  const total = (base?.rows ?? 0) + rows
  if (request.kind === 'hnsw') assertMemory(total, set.dim, request)

  await mkdir(out, { recursive: true })
  const key = buildKey(request, set, shards, base)
  const segments = await writeSegments(request, set, shards, key, base?.rows ?? 0)
  if (!segments) return result(base ?? emptyManifest(set, request), 0, true)
  const manifest: Manifest = {
    ...emptyManifest(set, request),
    ...(base ? { model: base.model, classes: base.classes ?? set.classes } : {}),
    rows: total,
    shards: [...(base?.shards ?? []), ...shards],
    segments: [...(base?.segments ?? []), ...segments],
  }
  if (request.kind === 'hnsw') {
    const file = await buildGraph(request, manifest, key, base)
    if (!file) return result(manifest, 0, true)
    manifest.hnsw = { file, ...request.hnsw }
  }
  if (request.kind === 'lancedb') {
    const reader = openRows(out, set.dim, manifest.segments)
    try {
      manifest.lancedb = await buildLance(out, manifest, reader, base?.rows ?? 0, request.onProgress)
    } finally {
      await reader.close()
    }
  }
  for (const segment of segments) await writeExactGraph(out, segment, set.dim)
  await saveManifest(out, manifest)
  await removeLeftovers(out, manifest)
  return result(manifest, rows)
}

const shardId = ({ path: file, bytes, mtimeMs, rows }: ShardInfo): string =>
  JSON.stringify([file, bytes, mtimeMs, rows])

function isSameIndex(there: Manifest, set: EmbeddingSet, request: BuildRequest): boolean {
  const { storage, connectivity, expansionAdd } = request.hnsw
  const graph = there.hnsw
  const sameGraph =
    request.kind !== 'hnsw' ||
    (graph?.storage === storage && graph.connectivity === connectivity && graph.expansionAdd === expansionAdd)
  return (
    !request.append &&
    there.kind === request.kind &&
    there.column === set.column &&
    sameGraph &&
    (request.modelRef === undefined || there.model?.ref === request.modelRef) &&
    JSON.stringify(there.shards.map(shardId)) === JSON.stringify(set.shards.map(shardId))
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

function assertMemory(rows: number, dim: number, request: BuildRequest): void {
  const bytes = hnswBytes(rows, dim, request.hnsw)
  if (bytes <= request.memoryBytes) return
  const gib = (value: number): string => `${(value / 2 ** 30).toFixed(1)} GiB`
  throw new VtpError(
    `An HNSW graph of ${rows} × ${dim} vectors takes about ${gib(bytes)} of memory while it is built; ${gib(request.memoryBytes)} are free`,
    {
      code: 'index_memory',
      suggestions: [
        'use --storage int8, which needs half as much',
        'use --kind lancedb, whose index lies on disk, or --kind exact',
      ],
    },
  )
}

/** Names of files that belong to the same build; another build of the same folder never picks them up. */
function buildKey(request: BuildRequest, set: EmbeddingSet, shards: ShardInfo[], base: Manifest | undefined): string {
  const what = [set.column, set.dim, shards.map(shardId), base?.rows ?? 0, request.segmentRows ?? SEGMENT_ROWS]
  return createHash('sha256').update(JSON.stringify(what)).digest('hex').slice(0, 12)
}

/** Copies vectors and rows into segments; undefined when stopped. */
async function writeSegments(
  request: BuildRequest,
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
    await writeFile(path.join(request.out, markerName(key, segments.length)), JSON.stringify(segment))
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
    const text = await readFile(path.join(out, markerName(key, segments.length)), 'utf8').catch(() => undefined)
    if (text === undefined) return segments
    const segment = JSON.parse(text) as Segment
    for (const { name, bytes } of [segment.vectors, segment.table, segment.offsets]) {
      const info = await stat(path.join(out, name)).catch(() => undefined)
      if (info?.size !== bytes) return segments
    }
    segments.push(segment)
  }
}

/** Deletes files of older builds. Never anything that is not named as a build names its files. */
async function removeLeftovers(out: string, manifest: Manifest): Promise<void> {
  const live = new Set([INDEX_FILE, ...manifestFiles(manifest).map((file) => file.name)])
  for (const segment of manifest.segments) live.add(`${segment.vectors.name}.onnx`)
  for (const name of await readdir(out)) {
    if (/^(seg|hnsw)-[0-9a-f]{12}-/.test(name) && !live.has(name)) await rm(path.join(out, name), { force: true })
  }
}
