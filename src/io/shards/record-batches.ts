/** Rows of ours out of Arrow's record batches, and batches cut and joined; what the readers of shards share. */
import type { DataType, FixedSizeList, RecordBatch, Schema } from 'apache-arrow'
import { usageError, VtpError } from '../../errors.js'
import type { RowBatch, RowMeta, TensorColumn, TensorData } from '../../types.js'
import { columnSize, emptyTensor } from './rebatch.js'

/** Tensor columns of an Arrow schema: those of the extension type, and plain fixed-size lists. */
export function tensorColumns(schema: Schema): TensorColumn[] {
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
export function fromRecordBatch(batch: RecordBatch, wanted: TensorColumn[]): RowBatch {
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
    const data = (values.values as TensorData).subarray(list.offset * size, (list.offset + batch.numRows) * size)
    if (data.length !== batch.numRows * size)
      throw new VtpError(`A column "${column.name}" of ${batch.numRows} rows holds ${data.length / size} of them`, {
        code: 'bad_shard',
        suggestions: ['the file is damaged: make it again, or copy it again'],
      })
    tensors[column.name] = data
  }
  return { rows, tensors }
}

export function pick(columns: TensorColumn[], names: string[], file: string): TensorColumn[] {
  return names.map((name) => {
    const column = columns.find((c) => c.name === name)
    if (!column)
      throw usageError('no_column', `${file} has no tensor column "${name}"`, [
        `it has ${columns.map((c) => c.name).join(', ')}`,
      ])
    return column
  })
}

export function* slices(batch: RowBatch, columns: TensorColumn[], batchRows: number): Generator<RowBatch> {
  for (let start = 0; start < batch.rows.length; start += batchRows) {
    const end = Math.min(start + batchRows, batch.rows.length)
    const tensors = columns.map((c) => [
      c.name,
      batch.tensors[c.name]!.subarray(start * columnSize(c), end * columnSize(c)),
    ])
    yield { rows: batch.rows.slice(start, end), tensors: Object.fromEntries(tensors) }
  }
}

export function joinBatches(parts: RowBatch[], columns: TensorColumn[]): RowBatch {
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
