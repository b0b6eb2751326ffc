/**
 * The schema of a shard in Arrow's terms, and batches of rows in its memory layout. Tensor columns are the
 * canonical extension type `arrow.fixed_shape_tensor` over FixedSizeList; the list's child must be called
 * `item` and be nullable for the extension type to survive in Parquet.
 */
import {
  type Data,
  type DataType,
  Field,
  FixedSizeBinary,
  FixedSizeList,
  Float16,
  Float32,
  Int32,
  makeData,
  RecordBatch,
  Schema,
  Struct,
  Uint8,
  Utf8,
} from 'apache-arrow'
import type { RowBatch, TensorColumn } from '../../types.js'
import { columnSize } from './rebatch.js'

const TENSOR_TYPES = {
  float16: () => new Float16(),
  float32: () => new Float32(),
  uint8: () => new Uint8(),
  int32: () => new Int32(),
} as const

export interface SchemaOptions {
  columns: TensorColumn[]
  captions: boolean
  /** See `ShardSpec`. */
  metadata?: boolean
  /** See `ShardSpec`. */
  imagePaths?: boolean
  provenance: Record<string, string>
}

export function shardSchema({ columns, captions, metadata: fieldsToo, imagePaths, provenance }: SchemaOptions): Schema {
  const fields: Field[] = [
    new Field('key', new Utf8(), false),
    new Field('uri', new Utf8(), false),
    ...(imagePaths ? [new Field('image_path', new Utf8(), false)] : []),
    new Field('label', new Int32(), true),
    ...(captions ? [new Field('caption', new Utf8(), true)] : []),
    ...(fieldsToo ? [new Field('metadata', new Utf8(), true)] : []),
    new Field('width', new Int32(), false),
    new Field('height', new Int32(), false),
    new Field('sha256', new FixedSizeBinary(32), false),
  ]
  for (const column of columns) {
    const item = new Field('item', TENSOR_TYPES[column.dtype]() as DataType, true)
    const metadata = new Map([
      ['ARROW:extension:name', 'arrow.fixed_shape_tensor'],
      ['ARROW:extension:metadata', JSON.stringify({ shape: column.shape })],
    ])
    fields.push(new Field(column.name, new FixedSizeList(columnSize(column), item), false, metadata))
  }
  return new Schema(fields, new Map(Object.entries(provenance)))
}

function utf8Data(values: (string | null)[]): Data {
  const encoded = values.map((value) => Buffer.from(value ?? ''))
  const offsets = new Int32Array(values.length + 1)
  encoded.forEach((bytes, i) => {
    offsets[i + 1] = offsets[i]! + bytes.length
  })
  return makeData({
    type: new Utf8(),
    length: values.length,
    valueOffsets: offsets,
    data: Buffer.concat(encoded),
    ...validity(values),
  })
}

function int32Data(values: (number | null)[]): Data {
  const data = Int32Array.from(values, (value) => value ?? 0)
  return makeData({ type: new Int32(), length: values.length, data, ...validity(values) })
}

function validity(values: unknown[]): { nullCount: number; nullBitmap?: Uint8Array } {
  const nullCount = values.filter((value) => value === null).length
  if (nullCount === 0) return { nullCount }
  const nullBitmap = new Uint8Array(Math.ceil(values.length / 8))
  values.forEach((value, i) => {
    if (value !== null) nullBitmap[i >> 3]! |= 1 << (i & 7)
  })
  return { nullCount, nullBitmap }
}

/** A batch of rows as an Arrow record batch; tensors are not copied. */
export function toRecordBatch(schema: Schema, options: SchemaOptions, { rows, tensors }: RowBatch): RecordBatch {
  const length = rows.length
  const digests = new Uint8Array(length * 32)
  rows.forEach((row, i) => {
    digests.set(row.sha256, i * 32)
  })
  const children: Data[] = [
    utf8Data(rows.map((row) => row.key)),
    utf8Data(rows.map((row) => row.uri)),
    int32Data(rows.map((row) => row.label)),
    ...(options.captions ? [utf8Data(rows.map((row) => row.caption))] : []),
    ...(options.metadata ? [utf8Data(rows.map((row) => row.metadata ?? null))] : []),
    int32Data(rows.map((row) => row.width)),
    int32Data(rows.map((row) => row.height)),
    makeData({ type: new FixedSizeBinary(32), length, nullCount: 0, data: digests }),
  ]
  for (const column of options.columns) {
    const size = columnSize(column)
    const type = TENSOR_TYPES[column.dtype]()
    const child = makeData({
      type: type as Float32,
      length: length * size,
      nullCount: 0,
      data: tensors[column.name]! as Float32Array,
    })
    const list = new FixedSizeList(size, new Field('item', type as DataType, true))
    children.push(makeData({ type: list, length, nullCount: 0, child }))
  }
  return new RecordBatch(schema, makeData({ type: new Struct(schema.fields), length, nullCount: 0, children }))
}
