/**
 * `index.json`, the one file that says what an index is. It is replaced atomically, last; files that it does
 * not name are leftovers. Row ids count from 0 through all segments, and so through all shards, in order.
 */
import { stat } from 'node:fs/promises'
import path from 'node:path'
import * as z from 'zod'
import { errorText, usageError, VtpError } from '../errors.js'
import { openLocalStore } from '../io/local-store.js'
import { shownAddress } from '../io/redact.js'
import { uriScheme } from '../io/store.js'

export const INDEX_FILE = 'index.json'
export const INDEX_KINDS = ['exact', 'hnsw', 'lancedb'] as const
export type IndexKind = (typeof INDEX_KINDS)[number]
export const STORAGES = ['bfloat16', 'float16', 'int8', 'float32'] as const
export type Storage = (typeof STORAGES)[number]

const file = z.object({ name: z.string().regex(/^[\w.-]+$/), bytes: z.int().nonnegative(), sha256: z.string() })

export const segmentSchema = z.object({
  /** Row id of the first row. */
  first: z.int().nonnegative(),
  rows: z.int().positive(),
  /** float32 [rows, dim], unit vectors (zeros where there is no embedding). */
  vectors: file,
  /** One JSON line per row. */
  table: file,
  /** Where each line starts, and where the last one ends: uint64 [rows + 1]. */
  offsets: file,
})

const manifestSchema = z.object({
  version: z.literal(1),
  kind: z.enum(INDEX_KINDS),
  rows: z.int().positive(),
  dim: z.int().positive(),
  /** The embeddings' column. */
  column: z.string(),
  /** What the vectors come from; null when the shards do not say. `ref` is where the model was found. */
  model: z.object({ name: z.string(), digest: z.string(), ref: z.string().optional() }).nullable(),
  transform: z.string().nullable(),
  classes: z.array(z.string()).nullable(),
  /** `digest` is of the content: SHA-256 (hex) of a file, the ETag of an object; absent in older indexes. */
  shards: z.array(
    z.object({ path: z.string(), rows: z.int(), bytes: z.int(), mtimeMs: z.number(), digest: z.string().optional() }),
  ),
  segments: z.array(segmentSchema).min(1),
  hnsw: z
    .object({
      file,
      storage: z.enum(STORAGES),
      connectivity: z.int().positive(),
      expansionAdd: z.int().positive(),
      expansionSearch: z.int().positive(),
    })
    .nullable(),
  lancedb: z.object({ uri: z.string(), table: z.string() }).nullable(),
  vtp: z.string(),
})

export type IndexFile = z.infer<typeof file>
export type Segment = z.infer<typeof segmentSchema>
export type Manifest = z.infer<typeof manifestSchema>

export function damaged(folder: string, what: string, cause?: unknown): VtpError {
  return new VtpError(`The index ${folder} is damaged: ${what}`, {
    code: 'index_damaged',
    suggestions: [`build it again: vtp index EMBEDDINGS --out ${folder}`],
    cause,
  })
}

/** Every file that the manifest names. */
export function manifestFiles(manifest: Manifest): IndexFile[] {
  const files = manifest.segments.flatMap((segment) => [segment.vectors, segment.table, segment.offsets])
  return manifest.hnsw ? [...files, manifest.hnsw.file] : files
}

/** Undefined when the folder has no manifest. Throws VtpError `index_damaged`. */
export async function loadManifest(folder: string): Promise<Manifest | undefined> {
  const store = openLocalStore(folder)
  let text: string
  try {
    text = Buffer.from(await store.get(INDEX_FILE)).toString()
  } catch (error) {
    if (error instanceof VtpError && error.code === 'not_found') return undefined
    throw error
  }
  try {
    return manifestSchema.parse(JSON.parse(text))
  } catch (error) {
    throw damaged(folder, `${INDEX_FILE} cannot be read (${errorText(error).slice(0, 120)})`, error)
  }
}

/** Throws usage error `index_not_local` for s3:// and the like: indexes are mapped into memory. */
export function assertLocal(folder: string): void {
  if (uriScheme(folder) === undefined) return
  throw usageError('index_not_local', `${shownAddress(folder)}: an index is a folder of this machine`, [
    'give a local folder; embeddings may lie in a bucket: vtp index s3://bucket/embeddings --out photos.index',
    'copy an index from a bucket as a whole, e.g. with `aws s3 sync`, and search the copy',
  ])
}

/** The manifest of an index whose files are there with their sizes. Throws usage error `no_index`, or `index_damaged`. */
export async function requireManifest(folder: string): Promise<Manifest> {
  assertLocal(folder)
  const manifest = await loadManifest(folder)
  if (!manifest) {
    throw usageError('no_index', `${folder} is not an index: it has no ${INDEX_FILE}`, [
      `build one: vtp embed photos --out embeddings && vtp index embeddings --out ${folder}`,
    ])
  }
  for (const { name, bytes } of manifestFiles(manifest)) {
    const info = await stat(path.join(folder, name)).catch(() => undefined)
    if (!info) throw damaged(folder, `${name} is missing`)
    if (info.size !== bytes) throw damaged(folder, `${name} has ${info.size} bytes, and ${bytes} were written`)
  }
  let first = 0
  for (const segment of manifest.segments) {
    const wanted = segment.rows * manifest.dim * 4
    if (segment.first !== first || segment.vectors.bytes !== wanted) throw damaged(folder, 'its segments do not add up')
    first += segment.rows
  }
  if (first !== manifest.rows) throw damaged(folder, 'its segments do not add up')
  return manifest
}

export async function saveManifest(folder: string, manifest: Manifest): Promise<void> {
  const store = openLocalStore(folder)
  await store.put(INDEX_FILE, Buffer.from(`${JSON.stringify(manifest, null, 1)}\n`))
}
