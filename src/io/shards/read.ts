/**
 * Reading shards back, batch by batch: Arrow and Parquet of ours, safetensors of ours and of the reference.
 * Shards in a bucket come to a temporary file first: whoever reads one reads most of it.
 */
import { openAsBlob } from 'node:fs'
import { open, readdir, readFile, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import {
  type DataType,
  type FixedSizeList,
  type RecordBatch,
  RecordBatchReader,
  type Schema,
  tableFromIPC,
} from 'apache-arrow'
import { errorText, usageError, VtpError } from '../../errors.js'
import type { RowBatch, RowMeta, TensorColumn, TensorData } from '../../types.js'
import { openSafetensors, type SafetensorsFile } from '../safetensors.js'
import { openStore, uriScheme } from '../store.js'
import { makeTempFolder } from '../temp-folder.js'
import { columnSize, emptyTensor, TENSOR_ARRAYS } from './rebatch.js'

export interface Shard {
  readonly path: string
  readonly rows: number
  /** Tensor columns. */
  readonly columns: TensorColumn[]
  readonly provenance: Record<string, string>
  /** Row metadata and the named tensors, in batches of at most `batchRows` rows. */
  read(columns: string[], batchRows: number): AsyncGenerator<RowBatch>
  /** Record batches, row groups or runs of rows that `readGroup` takes; absent in formats without them. */
  readonly groups?: number
  /** All rows of one group. */
  readGroup?(index: number, columns: string[]): Promise<RowBatch>
  close(): Promise<void>
}

const SHARD_FILE = /\.(arrow|parquet|safetensors|npy)$/

/** The shards of a folder in order, or the one file. Throws a usage error when there are none. */
export async function findShards(input: string): Promise<string[]> {
  const remote = uriScheme(input) === 's3'
  if (remote ? SHARD_FILE.test(input) : !(await stat(input)).isDirectory()) return [input]
  const entries = remote ? await remoteNames(input) : await readdir(input)
  // The layout of clip-retrieval; its metadata goes with its arrays.
  const folder = ['img_emb', 'text_emb'].find((name) => entries.includes(name))
  if (folder && !remote) return findShards(path.join(input, folder))
  const names = entries.filter((name) => SHARD_FILE.test(name)).sort()
  if (names.length === 0) {
    throw usageError('no_shards', `${input} holds no shards (.arrow, .parquet, .safetensors or .npy)`, [
      'give the --out folder of `vtp encode`',
    ])
  }
  return names.map((name) => (remote ? `${input.replace(/\/+$/, '')}/${name}` : path.join(input, name)))
}

async function remoteNames(input: string): Promise<string[]> {
  const store = await openStore(input)
  try {
    const names: string[] = []
    for await (const name of store.names('')) if (!name.includes('/')) names.push(name)
    return names
  } finally {
    await store.close()
  }
}

/** A shard of a bucket (and its sidecar) as a local file that goes when the shard is closed. */
async function openRemoteShard(uri: string): Promise<Shard> {
  const { downloadObject } = await import('../s3/download.js')
  const folder = await makeTempFolder('shard')
  const remove = (): Promise<void> => rm(folder, { recursive: true, force: true })
  try {
    const file = path.join(folder, path.posix.basename(uri))
    await downloadObject(uri, file)
    if (file.endsWith('.safetensors')) {
      const sidecar = (name: string): string => name.replace(/\.safetensors$/, '.keys.jsonl')
      await downloadObject(sidecar(uri), sidecar(file)).catch((error: unknown) => {
        if (!(error instanceof VtpError) || error.code !== 'not_found') throw error
      })
    }
    const shard = await openShard(file)
    const { read, readGroup, groups, columns, rows, provenance } = shard
    return {
      path: uri,
      rows,
      columns,
      provenance,
      read,
      ...(readGroup ? { groups, readGroup } : {}),
      async close() {
        await shard.close()
        await remove()
      },
    }
  } catch (error) {
    await remove()
    throw error
  }
}

/** Opens a shard. Throws VtpError `bad_shard` for damaged files. */
export async function openShard(file: string): Promise<Shard> {
  if (uriScheme(file) === 's3') return openRemoteShard(file)
  try {
    if (file.endsWith('.arrow')) return await openArrow(file)
    if (file.endsWith('.parquet')) return await openParquet(file)
    if (file.endsWith('.npy')) return await (await import('./npy.js')).openNpyShard(file)
    if (file.endsWith('.safetensors')) return await openSafetensorsShard(file)
  } catch (error) {
    if (error instanceof VtpError) throw error
    throw new VtpError(`${file} cannot be read: ${errorText(error)}`, {
      code: 'bad_shard',
      suggestions: ['the file may be truncated: make it again, or copy it again'],
      cause: error,
    })
  }
  throw usageError('unknown_shard', `${file} is not a shard (.arrow, .parquet, .safetensors or .npy)`)
}

/** Tensor columns of an Arrow schema: those of the extension type, and plain fixed-size lists. */
function tensorColumns(schema: Schema): TensorColumn[] {
  const columns: TensorColumn[] = []
  for (const field of schema.fields) {
    const list = field.type as FixedSizeList
    if (!('listSize' in list) || !Array.isArray(list.children)) continue
    const item = String(list.children[0]?.type as DataType)
    const dtype = ({ Float16: 'float16', Float32: 'float32', Uint8: 'uint8', Int32: 'int32' } as const)[item]
    if (!dtype) continue
    const extension = field.metadata.get('ARROW:extension:metadata')
    const shape = extension ? (JSON.parse(extension) as { shape: number[] }).shape : [list.listSize]
    columns.push({ name: field.name, dtype, shape })
  }
  return columns
}

/** Rows of an Arrow record batch, with the named tensors; values are views. */
function fromRecordBatch(batch: RecordBatch, wanted: TensorColumn[]): RowBatch {
  const child = (name: string) => batch.getChild(name)
  const fields = child('metadata')
  const rows: RowMeta[] = []
  for (let i = 0; i < batch.numRows; i++) {
    rows.push({
      key: String(child('key')?.get(i) ?? i),
      uri: String(child('uri')?.get(i) ?? ''),
      label: (child('label')?.get(i) as number | null | undefined) ?? null,
      caption: (child('caption')?.get(i) as string | null | undefined) ?? null,
      ...(fields ? { metadata: (fields.get(i) as string | null | undefined) ?? null } : {}),
      width: Number(child('width')?.get(i) ?? 0),
      height: Number(child('height')?.get(i) ?? 0),
      sha256: (child('sha256')?.get(i) as Uint8Array | null) ?? new Uint8Array(32),
    })
  }
  const tensors: Record<string, TensorData> = {}
  for (const column of wanted) {
    const size = columnSize(column)
    const list = child(column.name)!.data[0]!
    const values = list.children[0]!
    tensors[column.name] = (values.values as TensorData).subarray(
      list.offset * size,
      (list.offset + batch.numRows) * size,
    )
  }
  return { rows, tensors }
}

function pick(columns: TensorColumn[], names: string[], file: string): TensorColumn[] {
  return names.map((name) => {
    const column = columns.find((c) => c.name === name)
    if (!column)
      throw usageError('no_column', `${file} has no tensor column "${name}"`, [
        `it has ${columns.map((c) => c.name).join(', ')}`,
      ])
    return column
  })
}

function* slices(batch: RowBatch, columns: TensorColumn[], batchRows: number): Generator<RowBatch> {
  for (let start = 0; start < batch.rows.length; start += batchRows) {
    const end = Math.min(start + batchRows, batch.rows.length)
    const tensors = columns.map((c) => [
      c.name,
      batch.tensors[c.name]!.subarray(start * columnSize(c), end * columnSize(c)),
    ])
    yield { rows: batch.rows.slice(start, end), tensors: Object.fromEntries(tensors) }
  }
}

function joinBatches(parts: RowBatch[], columns: TensorColumn[]): RowBatch {
  if (parts.length === 1) return parts[0]!
  const rows = parts.flatMap((part) => part.rows)
  const tensors = columns.map((column): [string, TensorData] => {
    const size = columnSize(column)
    const out = emptyTensor(column, rows.length)
    let at = 0
    for (const part of parts) {
      out.set(part.tensors[column.name]!, at)
      at += part.rows.length * size
    }
    return [column.name, out]
  })
  return { rows, tensors: Object.fromEntries(tensors) }
}

async function openArrow(file: string): Promise<Shard> {
  const handle = await open(file)
  try {
    const reader = await RecordBatchReader.from(handle)
    await reader.open()
    if (!reader.isFile()) throw new VtpError(`${file} is no Arrow IPC file`, { code: 'bad_shard' })
    const { schema } = reader
    const columns = tensorColumns(schema)
    let rows = 0
    for (let i = 0; i < reader.numRecordBatches; i++) rows += (await reader.readRecordBatch(i))?.numRows ?? 0
    return {
      path: file,
      rows,
      columns,
      provenance: Object.fromEntries(schema.metadata),
      async *read(names, batchRows) {
        const wanted = pick(columns, names, file)
        for (let i = 0; i < reader.numRecordBatches; i++) {
          const batch = await reader.readRecordBatch(i)
          if (batch) yield* slices(fromRecordBatch(batch, wanted), wanted, batchRows)
        }
      },
      groups: reader.numRecordBatches,
      async readGroup(index, names) {
        const batch = await reader.readRecordBatch(index)
        if (!batch) throw new VtpError(`${file} has no record batch ${index}`, { code: 'bad_shard' })
        return fromRecordBatch(batch, pick(columns, names, file))
      },
      close: async () => {
        await reader.cancel()
        await handle.close().catch(() => {})
      },
    }
  } catch (error) {
    await handle.close().catch(() => {})
    throw error
  }
}

export async function openParquet(file: string): Promise<Shard> {
  const { ParquetFile } = await import('parquet-wasm')
  const parquet = await ParquetFile.fromFile(await openAsBlob(file))
  const schema = tableFromIPC(parquet.schema().intoIPCStream()).schema
  const columns = tensorColumns(schema)
  const metadata = parquet.metadata()
  const provenance = Object.fromEntries(metadata.fileMetadata().keyValueMetadata()) as Record<string, string>
  const metas = ['key', 'uri', 'label', 'caption', 'metadata', 'width', 'height', 'sha256'].filter((name) =>
    schema.fields.some((f) => f.name === name),
  )
  return {
    path: file,
    rows: metadata.fileMetadata().numRows(),
    columns,
    provenance: { ...Object.fromEntries(schema.metadata), ...provenance },
    async *read(names, batchRows) {
      const wanted = pick(columns, names, file)
      const stream = await parquet.stream({ columns: [...metas, ...names], batchSize: batchRows })
      const reader = stream.getReader()
      for (;;) {
        const { done, value } = await reader.read()
        if (done) return
        for (const batch of tableFromIPC(value.intoIPCStream()).batches)
          yield* slices(fromRecordBatch(batch, wanted), wanted, batchRows)
      }
    },
    groups: metadata.numRowGroups(),
    async readGroup(index, names) {
      const wanted = pick(columns, names, file)
      const table = await parquet.read({ columns: [...metas, ...names], rowGroups: [index] })
      const parts = tableFromIPC(table.intoIPCStream()).batches.map((batch) => fromRecordBatch(batch, wanted))
      return joinBatches(parts, wanted)
    },
    close: async () => parquet.free(),
  }
}

const DTYPES: Record<string, TensorColumn['dtype']> = { F16: 'float16', F32: 'float32', U8: 'uint8', I32: 'int32' }

/** Rows of safetensors that are read at once where only groups are asked for. */
const GROUP_ROWS = 64

async function openSafetensorsShard(file: string): Promise<Shard> {
  const shard: SafetensorsFile = await openSafetensors(file)
  const columns: TensorColumn[] = []
  for (const tensor of shard.tensors.values()) {
    const dtype = DTYPES[tensor.dtype]
    if (dtype && tensor.shape.length > 1) columns.push({ name: tensor.name, dtype, shape: tensor.shape.slice(1) })
  }
  const rows = shard.tensors.get('latents')?.shape[0] ?? [...shard.tensors.values()][0]?.shape[0] ?? 0
  const metas = await readSidecar(file, rows)
  const readRows = async (wanted: TensorColumn[], start: number, count: number): Promise<RowBatch> => {
    const tensors: Record<string, TensorData> = {}
    for (const column of wanted) {
      const TensorArray = TENSOR_ARRAYS[column.dtype]
      const size = columnSize(column) * TensorArray.BYTES_PER_ELEMENT
      const bytes = await shard.readBytes(column.name, { offset: start * size, bytes: count * size })
      const length = bytes.length / TensorArray.BYTES_PER_ELEMENT
      tensors[column.name] = new TensorArray(bytes.buffer as ArrayBuffer, bytes.byteOffset, length)
    }
    return { rows: metas.slice(start, start + count), tensors }
  }
  return {
    path: file,
    rows,
    columns,
    provenance: shard.metadata,
    async *read(names, batchRows) {
      const wanted = pick(columns, names, file)
      for (let start = 0; start < rows; start += batchRows)
        yield readRows(wanted, start, Math.min(batchRows, rows - start))
    },
    groups: Math.ceil(rows / GROUP_ROWS),
    readGroup: (index, names) => {
      const start = index * GROUP_ROWS
      return readRows(pick(columns, names, file), start, Math.min(GROUP_ROWS, rows - start))
    },
    close: () => shard.close(),
  }
}

/** Row metadata from the sidecar; the reference's own shards have none, and their rows are numbered. */
async function readSidecar(file: string, rows: number): Promise<RowMeta[]> {
  const text = await readFile(file.replace(/\.safetensors$/, '.keys.jsonl'), 'utf8').catch(() => undefined)
  const lines = text?.split('\n').filter(Boolean) ?? []
  const stem = path.basename(file, '.safetensors')
  return Array.from({ length: rows }, (_, i) => {
    const line = lines[i]
    const meta = line ? (JSON.parse(line) as Partial<Omit<RowMeta, 'sha256'>> & { sha256?: string }) : {}
    return {
      key: meta.key ?? `${stem}/${String(i).padStart(6, '0')}`,
      uri: meta.uri ?? '',
      label: meta.label ?? null,
      caption: meta.caption ?? null,
      ...(meta.metadata === undefined ? {} : { metadata: meta.metadata }),
      width: meta.width ?? 0,
      height: meta.height ?? 0,
      sha256: Buffer.from(meta.sha256 ?? '', 'hex'),
    }
  })
}
