/**
 * The layout of clip-retrieval: `img_emb/img_emb_0.npy`, `text_emb/text_emb_0.npy` and
 * `metadata/metadata_0.parquet`, whose rows belong together. Numbers have as many digits as the number of
 * shards, so that the names' order is the rows' order. Tools such as autofaiss open the folders as they are.
 */
import { type FileHandle, open, readFile } from 'node:fs/promises'
import path from 'node:path'
import { VtpError } from '../../errors.js'
import type { RowBatch, RowMeta, TensorColumn } from '../../types.js'
import { temporaryName } from '../atomic.js'
import { encodeNpyHeader, npyHeaderBytes, parseNpyHeader } from '../numpy/npy.js'
import { readFully } from '../read-fully.js'
import { type HeadedFile, type HeadedLayout, openHeadedFile } from './headed-file.js'
import { openParquetWriter } from './parquet.js'
import { openParquet } from './read-parquet.js'
import { tensorBytes } from './rebatch.js'
import type { FinishedFile, FormatWriter, Shard, ShardSpec } from './types.js'

const DTYPES = { float16: '<f2', float32: '<f4' } as const

/** Where a column's array goes: captions and lines of text are text_emb, images are img_emb. */
function arrayFolder(column: string, texts: boolean): string {
  return texts || column === 'clip_text' ? 'text_emb' : 'img_emb'
}

function headerOf({ dtype, shape }: TensorColumn, rows: number): Uint8Array {
  return encodeNpyHeader(DTYPES[dtype as keyof typeof DTYPES], [rows, shape[0]!])
}

/** The file that `rows` rows will make. */
function layoutOf(column: TensorColumn, rows: number): HeadedLayout {
  return { header: headerOf(column, rows).length, parts: [rows * tensorBytes([column])] }
}

/** The header comes first and tells the number of rows, which is known last (headed-file.ts). */
export async function openNpyWriter(
  spec: ShardSpec,
  number: string,
  tmpDir: string,
  expectedRows?: number,
): Promise<FormatWriter> {
  const texts = spec.texts === true
  const arrays: { column: TensorColumn; name: string; file: HeadedFile }[] = []
  for (const column of spec.columns) {
    const folder = arrayFolder(column.name, texts)
    const tmp = (what: string): string => temporaryName(path.join(tmpDir, `${folder}_${number}.${what}`))
    const layout = expectedRows === undefined ? undefined : layoutOf(column, expectedRows)
    const file = await openHeadedFile(tmp, ['values'], layout)
    arrays.push({ column, name: `${folder}/${folder}_${number}.npy`, file })
  }
  const metadataSpec = { ...spec, columns: [], imagePaths: !texts }
  const metadata = await openParquetWriter(metadataSpec, `metadata_${number}.parquet`, tmpDir)
  let rows = 0
  return {
    async append(batch) {
      rows += batch.rows.length
      for (const { column, file } of arrays) {
        const data = batch.tensors[column.name]!
        await file.append(0, new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
      }
      await metadata.append({ rows: batch.rows, tensors: {} })
    },
    async finish() {
      const files: FinishedFile[] = []
      for (const { column, name, file } of arrays) files.push({ name, ...(await file.finish(headerOf(column, rows))) })
      const [table] = await metadata.finish()
      return [...files, { ...table!, name: `metadata/metadata_${number}.parquet` }]
    },
    async abort() {
      await Promise.allSettled([...arrays.map(({ file }) => file.abort()), metadata.abort()])
    },
  }
}

/** An array of embeddings [rows, dimensions], halves or floats. Throws VtpError `bad_npy`. */
async function openEmbeddings(file: string) {
  const handle = await open(file)
  try {
    return { handle, ...(await readEmbeddingsHeader(handle, file)) }
  } catch (error) {
    await handle.close()
    throw error
  }
}

async function readEmbeddingsHeader(handle: FileHandle, file: string) {
  const fail = (what: string): VtpError =>
    new VtpError(`${file} is not an array of embeddings: ${what}`, {
      code: 'bad_npy',
      suggestions: ['give a .npy file of shape [rows, dimensions], float16 or float32, in C order'],
    })
  const { size } = await handle.stat()
  const start = Buffer.alloc(Math.min(12, size))
  await readFully(handle, start, 0)
  const bytes = Buffer.alloc(npyHeaderBytes(start, file))
  if (!(await readFully(handle, bytes, 0))) throw fail('it ends within its header')
  const { descr, shape, dataOffset } = parseNpyHeader(bytes, file)
  const dtype = descr === '<f2' ? 'float16' : descr === '<f4' ? 'float32' : undefined
  const [rows, dim] = shape
  if (!dtype || shape.length !== 2 || rows === undefined || !dim) throw fail(`it is ${descr} of shape [${shape}]`)
  const wanted = dataOffset + rows * dim * (dtype === 'float16' ? 2 : 4)
  if (size < wanted) throw fail(`it has ${size} bytes, and ${wanted} were expected`)
  return { dtype, rows, dim, dataOffset } as const
}

/** Opens `img_emb_3.npy` or `text_emb_3.npy` with the other one and the metadata of its number, where there are such. */
export async function openNpyShard(file: string): Promise<Shard> {
  const [, kind, number] = /(img|text)_emb_(\d+)\.npy$/.exec(file) ?? []
  const root = path.dirname(path.dirname(file))
  const { handle, dtype, rows, dim, dataOffset } = await openEmbeddings(file)
  const columns: TensorColumn[] = [{ name: 'clip', dtype, shape: [dim] }]
  const table = path.join(root, 'metadata', `metadata_${number}.parquet`)
  const metadata =
    kind === undefined
      ? undefined
      : await readFile(table).then(
          () => openParquet(table),
          () => undefined,
        )
  const bytesPerRow = dim * (dtype === 'float16' ? 2 : 4)
  async function* metas(batchRows: number): AsyncGenerator<RowMeta[]> {
    if (metadata) for await (const batch of metadata.read([], batchRows)) yield batch.rows
    else
      for (let start = 0; start < rows; start += batchRows)
        yield Array.from({ length: Math.min(batchRows, rows - start) }, (_, i) => numberedRow(file, start + i))
  }
  return {
    path: file,
    rows,
    columns,
    provenance: metadata?.provenance ?? {},
    async *read(names, batchRows) {
      let start = 0
      for await (const batch of metas(batchRows)) {
        const values = Buffer.alloc(batch.length * bytesPerRow)
        await readFully(handle, values, dataOffset + start * bytesPerRow)
        start += batch.length
        const data =
          dtype === 'float16'
            ? new Uint16Array(values.buffer, values.byteOffset, values.length / 2)
            : new Float32Array(values.buffer, values.byteOffset, values.length / 4)
        const tensors: RowBatch['tensors'] = names.includes('clip') ? { clip: data } : {}
        yield { rows: batch, tensors }
      }
    },
    close: async () => {
      await handle.close()
      await metadata?.close()
    },
  }
}

function numberedRow(file: string, row: number): RowMeta {
  const key = `${path.basename(file, '.npy')}/${String(row).padStart(9, '0')}`
  return { key, uri: '', label: null, caption: null, width: 0, height: 0, sha256: new Uint8Array(32) }
}
