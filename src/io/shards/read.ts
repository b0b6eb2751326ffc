/**
 * Reading shards back, batch by batch: Arrow and Parquet of ours, safetensors of ours and of the reference.
 * Shards in a bucket come to a temporary file first: whoever reads one reads most of it.
 */
import { readdir, readFile, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { errorText, usageError, VtpError } from '../../errors.js'
import type { RowBatch, RowMeta, TensorColumn, TensorData } from '../../types.js'
import { openStore } from '../open-store.js'
import { openSafetensors, type SafetensorsFile } from '../safetensors.js'
import { uriScheme } from '../store.js'
import { makeTempFolder } from '../temp-folder.js'
import { columnSize, TENSOR_ARRAYS } from './rebatch.js'
import { pick } from './record-batches.js'
import type { Shard } from './types.js'

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

/** Opens a shard. Throws VtpError `bad_shard` for damaged files, and so does reading it. */
export async function openShard(file: string): Promise<Shard> {
  if (uriScheme(file) === 's3') return openRemoteShard(file)
  const shard = await openFormat(file).catch((error: unknown) => {
    throw damaged(file, error)
  })
  const { readGroup } = shard
  return {
    ...shard,
    async *read(columns, batchRows) {
      const batches = shard.read(columns, batchRows)
      try {
        for (;;) {
          const next = await batches.next().catch((error: unknown) => {
            throw damaged(file, error)
          })
          if (next.done) return
          yield next.value
        }
      } finally {
        await batches.return(undefined)
      }
    },
    ...(readGroup && {
      readGroup: (index, columns) =>
        readGroup(index, columns).catch((error: unknown) => {
          throw damaged(file, error)
        }),
    }),
  }
}

async function openFormat(file: string): Promise<Shard> {
  if (file.endsWith('.arrow')) return (await import('./read-arrow.js')).openArrow(file)
  if (file.endsWith('.parquet')) return (await import('./read-parquet.js')).openParquet(file)
  if (file.endsWith('.npy')) return (await import('./npy.js')).openNpyShard(file)
  if (file.endsWith('.safetensors')) return openSafetensorsShard(file)
  throw usageError('unknown_shard', `${file} is not a shard (.arrow, .parquet, .safetensors or .npy)`)
}

function damaged(file: string, error: unknown): VtpError {
  if (error instanceof VtpError) return error
  return new VtpError(`${file} cannot be read: ${errorText(error)}`, {
    code: 'bad_shard',
    suggestions: [
      'the file is damaged or cut off: copy it again, or let `vtp verify DEST --repair` open its unit again',
    ],
    cause: error,
  })
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
  const metas = await readSidecar(file, rows, await storedLabels(shard))
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

/** The tensor `labels`, where there is one; −1 stands for none. */
async function storedLabels(shard: SafetensorsFile): Promise<(number | null)[]> {
  if (shard.tensors.get('labels')?.dtype !== 'I64') return []
  const bytes = (await shard.readBytes('labels')).slice()
  return Array.from(new BigInt64Array(bytes.buffer), (label) => (label < 0n ? null : Number(label)))
}

/** Row metadata from the sidecar; the reference's own shards have none, and their rows are numbered. */
async function readSidecar(file: string, rows: number, labels: (number | null)[]): Promise<RowMeta[]> {
  const text = await readFile(file.replace(/\.safetensors$/, '.keys.jsonl'), 'utf8').catch(() => undefined)
  const lines = text?.split('\n').filter(Boolean) ?? []
  const stem = path.basename(file, '.safetensors')
  return Array.from({ length: rows }, (_, i) => {
    const line = lines[i]
    const meta = line ? (JSON.parse(line) as Partial<Omit<RowMeta, 'sha256'>> & { sha256?: string }) : {}
    return {
      key: meta.key ?? `${stem}/${String(i).padStart(6, '0')}`,
      uri: meta.uri ?? '',
      label: meta.label ?? labels[i] ?? null,
      caption: meta.caption ?? null,
      ...(meta.metadata === undefined ? {} : { metadata: meta.metadata }),
      width: meta.width ?? 0,
      height: meta.height ?? 0,
      sha256: Buffer.from(meta.sha256 ?? '', 'hex'),
    }
  })
}
