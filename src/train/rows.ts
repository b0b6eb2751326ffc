/**
 * Latents with random access to every row: what shuffling as a whole needs. Rows of local safetensors are read where
 * they lie. Other formats, and shards in a bucket, are copied once, row after row, into files of the run's own folder
 * (`_vtp/rows`): a record batch or a row group would have to be read whole for each of its rows.
 */
import { createHash } from 'node:crypto'
import { type FileHandle, open, readFile, stat } from 'node:fs/promises'
import path from 'node:path'
import { usageError, VtpError } from '../errors.js'
import { removeLeftOvers, settle, temporaryName } from '../io/atomic.js'
import { makeFolder } from '../io/make-folder.js'
import { openStore } from '../io/open-store.js'
import { readFully } from '../io/read-fully.js'
import { openSafetensors } from '../io/safetensors.js'
import { openFileSink } from '../io/shards/file-sink.js'
import { findShards, openShard, type Shard } from '../io/shards/index.js'
import { columnSize } from '../io/shards/rebatch.js'
import { uriScheme } from '../io/store.js'
import { float16ToFloat32 } from '../math/half.js'

/** Rows in a file one after the other. */
interface RowFile {
  file: string
  offset: number
  dtype: 'float16' | 'float32'
}

interface ShardRows {
  name: string
  path: string
  rows: number
  first: number
  latents: RowFile
  flip?: RowFile
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
  /** What the shards say of their origin. */
  readonly provenance: Readonly<Record<string, string>>
  /** Bytes that were copied into the run's folder. */
  readonly copiedBytes: number
  read(row: number, flipped: boolean): Promise<Float32Array>
  keyOf(row: number): Promise<string>
  close(): Promise<void>
}

export interface OpenRowsOptions {
  /** Where copies go. */
  folder: string
  onNote?: (line: string) => void
  stop?: AbortSignal
}

const BATCH_ROWS = 256

/** Opens the shards of a folder, a file or a bucket's prefix. Throws usage errors `no_shards`, `no_latents`, `shards_differ`. */
export async function openLatentRows(input: string, options: OpenRowsOptions): Promise<LatentRows> {
  if (uriScheme(input) === undefined && !(await stat(input).catch(() => undefined)))
    throw usageError('input_missing', `${input} does not exist`, ['give the --out folder of `vtp encode`'])
  const files = await findShards(input)
  const sums = await promisedSums(input)
  const shards: ShardRows[] = []
  const labels: Int32Array[] = []
  const identity: unknown[] = []
  let shape: number[] | undefined
  let provenance: Record<string, string> = {}
  let rows = 0
  let copiedBytes = 0
  let told = false
  for (const [index, file] of files.entries()) {
    options.stop?.throwIfAborted()
    const name = path.posix.basename(file.replaceAll('\\', '/'))
    const bytes = await sizeOf(file)
    const direct = file.endsWith('.safetensors') && uriScheme(file) === undefined
    if (!direct && !told) {
      told = true
      options.onNote?.('Copying the latents into the run’s folder, once: only local safetensors have random access.')
    }
    const found = direct
      ? await inPlace(file)
      : await copied(file, `${String(index).padStart(5, '0')}-${bytes}`, options)
    if (shape && shape.join() !== found.shape.join())
      throw usageError('shards_differ', `${file} holds latents [${found.shape}], the shards before it [${shape}]`, [
        'give the folder of one run of `vtp encode`',
      ])
    shape = found.shape
    if (index === 0) provenance = found.provenance
    shards.push({ name, path: file, rows: found.rows, first: rows, latents: found.latents, flip: found.flip })
    labels.push(found.labels)
    identity.push([
      name,
      sums.get(name) ?? bytes,
      found.rows,
      found.shape,
      found.latents.dtype,
      found.flip !== undefined,
    ])
    rows += found.rows
    copiedBytes += found.copiedBytes
  }
  if (rows === 0 || !shape)
    throw usageError('no_rows', `${input} has no rows`, ['see how far the run is with `vtp status`'])
  if (shape.length !== 3 || shape[1] !== shape[2])
    throw usageError('no_latents', `${input} holds latents [${shape}]; [C,S,S] was expected`)
  const all = new Int32Array(rows)
  for (const [i, part] of labels.entries()) all.set(part, shards[i]!.first)
  const hash = createHash('sha256').update(JSON.stringify(identity)).update(new Uint8Array(all.buffer))
  const size = shape.reduce((a, b) => a * b, 1)
  const handles = new Map<string, Promise<FileHandle>>()
  const shardOf = (row: number): ShardRows => {
    let [low, high] = [0, shards.length - 1]
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if (shards[middle]!.first <= row) low = middle
      else high = middle - 1
    }
    return shards[low]!
  }
  const hasFlips = shards.every((shard) => shard.flip !== undefined)
  return {
    input,
    files,
    rows,
    shape: shape as [number, number, number],
    hasFlips,
    labels: all,
    digest: hash.digest('hex'),
    provenance,
    copiedBytes,
    async read(row, flipped) {
      const shard = shardOf(row)
      const { file, offset, dtype } = flipped && hasFlips ? shard.flip! : shard.latents
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
    async keyOf(row) {
      const { path: file, first } = shardOf(row)
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
    },
    async close() {
      for (const handle of handles.values()) await (await handle).close().catch(() => {})
    },
  }
}

interface FoundRows {
  rows: number
  shape: number[]
  labels: Int32Array
  latents: RowFile
  flip?: RowFile
  provenance: Record<string, string>
  copiedBytes: number
}

function latentsOf(shard: Shard): { shape: number[]; dtype: RowFile['dtype']; flip: boolean } {
  const column = shard.columns.find(({ name }) => name === 'latents')
  if (!column || (column.dtype !== 'float16' && column.dtype !== 'float32'))
    throw usageError('no_latents', `${shard.path} has no latents`, ['encode with --outputs latents'])
  const flip = shard.columns.find(({ name }) => name === 'latents_flip')
  return {
    shape: column.shape,
    dtype: column.dtype,
    flip: flip?.dtype === column.dtype && flip.shape.join() === column.shape.join(),
  }
}

/** Rows where they lie: the tensors of a local safetensors file. */
async function inPlace(file: string): Promise<FoundRows> {
  const shard = await openShard(file)
  const tensors = await openSafetensors(file)
  try {
    const { shape, dtype, flip } = latentsOf(shard)
    const at = (name: string): RowFile => ({ file, dtype, offset: tensors.tensors.get(name)!.offset })
    const labels = new Int32Array(shard.rows)
    let row = 0
    for await (const batch of shard.read([], 65_536)) for (const meta of batch.rows) labels[row++] = meta.label ?? -1
    return {
      rows: shard.rows,
      shape,
      labels,
      latents: at('latents'),
      ...(flip && { flip: at('latents_flip') }),
      provenance: shard.provenance,
      copiedBytes: 0,
    }
  } finally {
    await Promise.allSettled([shard.close(), tensors.close()])
  }
}

interface CopyNote {
  rows: number
  shape: number[]
  dtype: RowFile['dtype']
  flip: boolean
  provenance: Record<string, string>
}

/** Rows that an earlier call has copied, or copies them; the note with their shape comes last. */
async function copied(file: string, stem: string, { folder, stop }: OpenRowsOptions): Promise<FoundRows> {
  const at = (what: string): string => path.join(folder, `${stem}.${what}`)
  const result = async (note: CopyNote, copiedBytes: number): Promise<FoundRows> => {
    const bytes = await readFile(at('labels'))
    const rowFile = (what: string): RowFile => ({ file: at(what), offset: 0, dtype: note.dtype })
    return {
      rows: note.rows,
      shape: note.shape,
      labels: new Int32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length)),
      latents: rowFile('latents'),
      ...(note.flip && { flip: rowFile('flip') }),
      provenance: note.provenance,
      copiedBytes,
    }
  }
  const known = await readFile(at('json'), 'utf8').catch(() => undefined)
  if (known !== undefined) return result(JSON.parse(known) as CopyNote, 0)
  await makeFolder(path.resolve(folder))
  await removeLeftOvers(folder)
  const shard = await openShard(file)
  try {
    const { shape, dtype, flip } = latentsOf(shard)
    const names = ['latents', ...(flip ? ['latents_flip'] : [])]
    const sinks = await Promise.all(names.map((_, i) => openFileSink(temporaryName(at(i === 0 ? 'latents' : 'flip')))))
    const labels: number[] = []
    try {
      for await (const batch of shard.read(names, BATCH_ROWS)) {
        stop?.throwIfAborted()
        for (const [i, name] of names.entries()) {
          const { buffer, byteOffset, byteLength } = batch.tensors[name]!
          await sinks[i]!.write(new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength))
        }
        labels.push(...batch.rows.map((meta) => meta.label ?? -1))
      }
    } catch (error) {
      await Promise.allSettled(sinks.map((sink) => sink.abort()))
      throw error
    }
    const width = columnSize({ name: 'latents', dtype, shape }) * (dtype === 'float16' ? 2 : 4)
    if (labels.length !== shard.rows || sinks.some((sink) => sink.bytes !== width * shard.rows))
      throw new VtpError(`${file} has ${labels.length} of ${shard.rows} rows`, {
        code: 'bad_shard',
        suggestions: ['run `vtp verify`'],
      })
    for (const [i, sink] of sinks.entries()) {
      await sink.finish()
      await settle(sink.path, at(i === 0 ? 'latents' : 'flip'))
    }
    const note: CopyNote = { rows: shard.rows, shape, dtype, flip, provenance: shard.provenance }
    await putBytes(at('labels'), new Uint8Array(Int32Array.from(labels).buffer))
    await putBytes(at('json'), Buffer.from(`${JSON.stringify(note)}\n`))
    return await result(
      note,
      sinks.reduce((sum, sink) => sum + sink.bytes, 0),
    )
  } finally {
    await shard.close()
  }
}

async function putBytes(file: string, bytes: Uint8Array): Promise<void> {
  const sink = await openFileSink(temporaryName(file))
  await sink.write(bytes)
  await sink.finish()
  await settle(sink.path, file)
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
