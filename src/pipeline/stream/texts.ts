/** Texts in the batch engine: lines of text as rows of their own, and captions beside their images. */
import { createHash } from 'node:crypto'
import type { TextEncoder } from '../../engine/text-encoder.js'
import { float32ToFloat16 } from '../../math/half.js'
import type { RowMeta, TensorColumn, TensorData } from '../../types.js'
import type { BatchJob, EncodedBatch } from './batch.js'
import type { Meter } from './meter.js'

/** The column of caption embeddings beside images. */
export const CAPTION_COLUMN = 'clip_text'

/**
 * Embeddings of the rows' captions, [rows, D] in the column's type. A row without a caption gets zeros, which
 * no text has.
 */
export async function embedCaptions(
  rows: Pick<RowMeta, 'caption'>[],
  encoder: TextEncoder,
  column: TensorColumn,
): Promise<TensorData> {
  const texts: string[] = []
  const places: number[] = []
  rows.forEach(({ caption }, row) => {
    if (caption === null) return
    texts.push(caption)
    places.push(row)
  })
  const found = await encoder.encode(texts)
  const all = new Float32Array(rows.length * encoder.dim)
  places.forEach((row, i) => {
    all.set(found.subarray(i * encoder.dim, (i + 1) * encoder.dim), row * encoder.dim)
  })
  return column.dtype === 'float16' ? float32ToFloat16(all) : all
}

/** A batch of lines of text → rows. */
export async function encodeTextBatch(
  batch: BatchJob,
  encoder: TextEncoder,
  column: TensorColumn,
  meter: Meter,
): Promise<EncodedBatch> {
  const rows = batch.entries.map(({ key, uri, caption = '' }): RowMeta => {
    meter.bytesRead += Buffer.byteLength(caption)
    const sha256 = createHash('sha256').update(caption).digest()
    return { key, uri, label: null, caption, width: 0, height: 0, sha256 }
  })
  const data = await meter.clocks.encode.time(() => embedCaptions(rows, encoder, column))
  const positions = rows.map((_, i) => batch.start + i)
  return { ...batch, rows, positions, rejects: [], batch: { rows, tensors: { [column.name]: data } } }
}
