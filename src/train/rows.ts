/**
 * Latents with random access to every row: what shuffling as a whole needs. Rows of local safetensors are read where
 * they lie. Other formats, and shards in a bucket, are copied once, row after row, into files of the run's own folder
 * (`_vtp/rows`): a record batch or a row group would have to be read whole for each of its rows.
 */
import { createHash } from 'node:crypto'
import { type FileHandle, open, stat } from 'node:fs/promises'
import path from 'node:path'
import { usageError, VtpError } from '../errors.js'
import { openStore } from '../io/open-store.js'
import { readFully } from '../io/read-fully.js'
import { findShards, openShard } from '../io/shards/index.js'
import { uriScheme } from '../io/store.js'
import { float16ToFloat32 } from '../math/half.js'
import { BATCH_ROWS, copyRows, type FoundRows, lookAtRows, type OpenRowsOptions, rowsInPlace } from './row-files.js'

interface ShardRows extends FoundRows {
  path: string
  /** Number of its first row in the set. */
  first: number
}

export interface LatentRows {
  readonly input: string
  readonly files: readonly string[]
  readonly rows: number
  /** [C, H, W] */
  readonly shape: readonly [number, number, number]
  /** Whether every shard has latents of the mirrored images. */
  readonly hasFlips: boolean
  /** −1 where a row has none. */
  readonly labels: Int32Array
  /** SHA-256 (hex) over names, sizes, shapes and labels, and over the files' own digests where a manifest has them. */
  readonly digest: string
  /** Of the copies in the run's folder, whether they are there or not; 0 where rows are read in place. */
  readonly copyBytes: number
  read(row: number, flipped: boolean): Promise<Float32Array>
  keyOf(row: number): Promise<string>
  close(): Promise<void>
}

/** Opens the shards of a folder, a file or a bucket's prefix. Throws usage errors `no_shards`, `no_latents`, `shards_differ`. */
export async function openLatentRows(input: string, options: OpenRowsOptions): Promise<LatentRows> {
  if (uriScheme(input) === undefined && !(await stat(input).catch(() => undefined)))
    throw usageError('input_missing', `${input} does not exist`, ['give the --out folder of `vtp encode`'])
  const files = await findShards(input)
  const { shards, identity } = await findRows(input, files, options)
  const rows = shards.reduce((sum, shard) => sum + shard.rows, 0)
  const shape = shards[0]?.shape
  if (rows === 0 || !shape)
    throw usageError('no_rows', `${input} has no rows`, ['see how far the run is with `vtp status`'])
  if (shape.length !== 3 || shape[1] !== shape[2])
    throw usageError('no_latents', `${input} holds latents [${shape}]; [C,S,S] was expected`)
  const labels = new Int32Array(rows)
  for (const shard of shards) labels.set(shard.labels, shard.first)
  const hash = createHash('sha256').update(JSON.stringify(identity)).update(new Uint8Array(labels.buffer))
  const hasFlips = shards.every((shard) => shard.flip !== undefined)
  return {
    ...{ input, files, rows, labels, hasFlips },
    shape: shape as [number, number, number],
    digest: hash.digest('hex'),
    copyBytes: shards.reduce((sum, shard) => sum + shard.copyBytes, 0),
    keyOf: (row) => keyOf(shardOf(shards, row), row),
    ...rowReader(
      shards,
      shape.reduce((a, b) => a * b, 1),
    ),
  }
}

/** The rows of every shard, and what tells the set from another one. */
async function findRows(
  input: string,
  files: readonly string[],
  options: OpenRowsOptions,
): Promise<{ shards: ShardRows[]; identity: unknown[] }> {
  const sums = await promisedSums(input)
  const shards: ShardRows[] = []
  const identity: unknown[] = []
  let first = 0
  let told = options.look ?? false
  for (const [index, file] of files.entries()) {
    options.stop?.throwIfAborted()
    const name = path.posix.basename(file.replaceAll('\\', '/'))
    const bytes = await sizeOf(file)
    const direct = file.endsWith('.safetensors') && uriScheme(file) === undefined
    if (!direct && !told) {
      told = true
      options.onNote?.('Copying the latents into the run’s folder, once: only local safetensors have random access.')
    }
    const stem = `${String(index).padStart(5, '0')}-${bytes}`
    const found = direct
      ? await rowsInPlace(file)
      : options.look
        ? await lookAtRows(file)
        : await copyRows(file, stem, options)
    const before = shards[0]?.shape
    if (before && before.join() !== found.shape.join())
      throw usageError('shards_differ', `${file} holds latents [${found.shape}], the shards before it [${before}]`, [
        'give the folder of one run of `vtp encode`',
      ])
    shards.push({ ...found, path: file, first })
    const { rows, shape, latents, flip } = found
    identity.push([name, sums.get(name) ?? bytes, rows, shape, latents.dtype, flip !== undefined])
    first += rows
  }
  return { shards, identity }
}

/** The shard that holds a row. */
function shardOf(shards: readonly ShardRows[], row: number): ShardRows {
  let [low, high] = [0, shards.length - 1]
  while (low < high) {
    const middle = (low + high + 1) >> 1
    if (shards[middle]!.first <= row) low = middle
    else high = middle - 1
  }
  return shards[low]!
}

/** Reads rows of `size` elements; files are opened once. */
function rowReader(shards: readonly ShardRows[], size: number): Pick<LatentRows, 'read' | 'close'> {
  const handles = new Map<string, Promise<FileHandle>>()
  return {
    async read(row, flipped) {
      const shard = shardOf(shards, row)
      const { file, offset, dtype } = (flipped && shard.flip) || shard.latents
      const width = dtype === 'float16' ? 2 : 4
      const bytes = Buffer.alloc(size * width)
      if (!handles.has(file)) handles.set(file, open(file))
      if (!(await readFully(await handles.get(file)!, bytes, offset + (row - shard.first) * size * width)))
        throw new VtpError(`${file} ended while a row was read`, {
          code: 'bad_shard',
          suggestions: ['run `vtp verify`'],
        })
      const { buffer, byteOffset } = bytes
      return dtype === 'float16'
        ? float16ToFloat32(new Uint16Array(buffer, byteOffset, size))
        : new Float32Array(buffer, byteOffset, size)
    },
    async close() {
      for (const handle of handles.values()) await (await handle).close().catch(() => {})
    },
  }
}

/** A row's key and place, for people. */
async function keyOf({ path: file, first }: ShardRows, row: number): Promise<string> {
  const shard = await openShard(file)
  try {
    let at = first
    for await (const batch of shard.read([], BATCH_ROWS)) {
      if (row < at + batch.rows.length)
        return `${batch.rows[row - at]!.key} (row ${row - first} of ${path.basename(file)})`
      at += batch.rows.length
    }
  } finally {
    await shard.close()
  }
  return `row ${row - first} of ${path.basename(file)}`
}

/** SHA-256 by file name, as the manifest of a finished run has them. */
async function promisedSums(input: string): Promise<Map<string, string>> {
  const sums = new Map<string, string>()
  if (/\.(arrow|parquet|safetensors|npy)$/.test(input)) return sums
  const store = await openStore(input)
  try {
    const text = Buffer.from(await store.get('_manifest.json')).toString()
    const { files } = JSON.parse(text) as { files?: { name?: unknown; sha256?: unknown }[] }
    for (const { name, sha256 } of Array.isArray(files) ? files : [])
      if (typeof name === 'string' && typeof sha256 === 'string') sums.set(name, sha256)
  } catch {
    // Shards of another origin, or of a run that is not finished.
  } finally {
    await store.close()
  }
  return sums
}

async function sizeOf(file: string): Promise<number> {
  if (uriScheme(file) === undefined) return (await stat(file)).size
  const at = file.lastIndexOf('/')
  const store = await openStore(file.slice(0, at))
  try {
    return (await store.stat(file.slice(at + 1)))?.size ?? 0
  } finally {
    await store.close()
  }
}
