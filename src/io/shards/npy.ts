/**
 * The layout of clip-retrieval: `img_emb/img_emb_0.npy`, `text_emb/text_emb_0.npy` and
 * `metadata/metadata_0.parquet`, whose rows belong together. Numbers have as many digits as the number of
 * shards, so that the names' order is the rows' order. Tools such as autofaiss open the folders as they are.
 */
import { createReadStream } from 'node:fs'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import type { RowBatch, RowMeta, TensorColumn } from '../../types.js'
import { encodeNpyHeader } from '../numpy/npy.js'
import { type FileSink, openFileSink } from './file-sink.js'
import type { FinishedFile, FormatWriter, ShardSpec } from './index.js'
import { NPY_TYPES, openNpyMatrix } from './npy-matrix.js'
import { openParquetWriter } from './parquet.js'
import { openParquet, type Shard } from './read.js'

/** Where a column's array goes: captions and lines of text are text_emb, images are img_emb. */
function arrayFolder(column: string, texts: boolean): string {
  return texts || column === 'clip_text' ? 'text_emb' : 'img_emb'
}

/** Spools the values beside the shard, since a header comes first and tells the number of rows. */
export async function openNpyWriter(spec: ShardSpec, number: string, tmpDir: string): Promise<FormatWriter> {
  const texts = spec.texts === true
  const arrays: { column: TensorColumn; name: string; spool: FileSink }[] = []
  for (const column of spec.columns) {
    const folder = arrayFolder(column.name, texts)
    const spool = await openFileSink(path.join(tmpDir, `${folder}_${number}.values.tmp-${process.pid}`))
    arrays.push({ column, name: `${folder}/${folder}_${number}.npy`, spool })
  }
  const metadataSpec = { ...spec, columns: [], imagePaths: !texts }
  const metadata = await openParquetWriter(metadataSpec, `metadata_${number}.parquet`, tmpDir)
  let rows = 0
  return {
    async append(batch) {
      rows += batch.rows.length
      for (const { column, spool } of arrays) {
        const data = batch.tensors[column.name]!
        await spool.write(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
      }
      await metadata.append({ rows: batch.rows, tensors: {} })
    },
    async finish() {
      const files: FinishedFile[] = []
      for (const { column, name, spool } of arrays) {
        const out = await openFileSink(spool.path.replace('.values.', '.'))
        try {
          await out.write(encodeNpyHeader(NPY_TYPES[column.dtype as 'float16' | 'float32'], [rows, column.shape[0]!]))
          await spool.finish()
          for await (const chunk of createReadStream(spool.path, { highWaterMark: 1 << 20 }))
            await out.write(chunk as Buffer)
          await spool.abort()
        } catch (error) {
          await out.abort()
          throw error
        }
        files.push({ name, ...(await out.finish()) })
      }
      const [table] = await metadata.finish()
      return [...files, { ...table!, name: `metadata/metadata_${number}.parquet` }]
    },
    async abort() {
      await Promise.allSettled([...arrays.map(({ spool }) => spool.abort()), metadata.abort()])
    },
  }
}

/** Opens `img_emb_3.npy` or `text_emb_3.npy` with the other one and the metadata of its number, where there are such. */
export async function openNpyShard(file: string): Promise<Shard> {
  const [, kind, number] = /(img|text)_emb_(\d+)\.npy$/.exec(file) ?? []
  const root = path.dirname(path.dirname(file))
  const header = await openNpyMatrix(file)
  const { handle } = header
  const columns: TensorColumn[] = [{ name: 'clip', dtype: header.dtype, shape: [header.shape[1]] }]
  const table = path.join(root, 'metadata', `metadata_${number}.parquet`)
  const metadata =
    kind === undefined
      ? undefined
      : await readFile(table).then(
          () => openParquet(table),
          () => undefined,
        )
  const [rows, dim] = header.shape
  const bytesPerRow = dim * (header.dtype === 'float16' ? 2 : 4)
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
        await handle.read(values, 0, values.length, header.offset + start * bytesPerRow)
        start += batch.length
        const data =
          header.dtype === 'float16'
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
