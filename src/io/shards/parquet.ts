/**
 * Parquet shards, written directly: the values of fixed-size lists are their memory, and their levels are a
 * few run lengths, so a row group costs about as much as a copy. Row groups go to disk as they fill. The
 * Arrow schema travels in the file, so pyarrow opens tensors as fixed_shape_tensor; SQL engines see lists.
 *
 * Format: github.com/apache/parquet-format (Encodings.md, README.md); the footer's and page headers' thrift
 * comes from hyparquet-writer. uint8 tensors are dictionary-encoded with the identity as dictionary: their
 * 8-bit indices are the bytes themselves.
 */
import path from 'node:path'
import { RecordBatchStreamWriter, type Schema } from 'apache-arrow'
import type { ColumnChunk, Encoding, FileMetaData, RowGroup, SchemaElement } from 'hyparquet'
import { ByteWriter } from 'hyparquet-writer'
import { writeMetadata } from 'hyparquet-writer/src/metadata.js'
import { serializeTCompactProtocol } from 'hyparquet-writer/src/thrift.js'
import type { RowBatch, TensorColumn } from '../../types.js'
import { temporaryName } from '../atomic.js'
import { shardSchema } from './arrow-schema.js'
import { openFileSink } from './file-sink.js'
import { columnSize, createRebatcher, rowsPerBatch } from './rebatch.js'
import type { FormatWriter, ShardSpec } from './types.js'

/** Bytes of tensors in a row group. */
const ROW_GROUP_BYTES = 16 * 2 ** 20
const MAGIC = Buffer.from('PAR1')
const PLAIN = 0
const RLE = 3
const RLE_DICTIONARY = 8

/** One column of the file: its place in the schema tree and how a batch's values become pages. */
interface ParquetColumn {
  schema: SchemaElement[]
  path: string[]
  type: 'BYTE_ARRAY' | 'FIXED_LEN_BYTE_ARRAY' | 'INT32' | 'FLOAT'
  encodings: Encoding[]
  pages(batch: RowBatch): Page[]
}

interface Page {
  dictionary: boolean
  /** Values, or dictionary entries. */
  count: number
  encoding: number
  body: Uint8Array[]
}

/** Holds one row group (16 MiB) and its metadata columns, whatever the shard's size. */
export async function openParquetWriter(spec: ShardSpec, name: string, tmpDir: string): Promise<FormatWriter> {
  const columns = fileColumns(spec)
  const sink = await openFileSink(temporaryName(path.join(tmpDir, name)))
  await sink.write(MAGIC)
  const groups: RowGroup[] = []
  let rows = 0

  const rebatcher = createRebatcher(spec.columns, rowsPerBatch(spec.columns, ROW_GROUP_BYTES), async (batch) => {
    const start = sink.bytes
    const chunks: ColumnChunk[] = []
    for (const column of columns) chunks.push(await writeChunk(column, batch))
    rows += batch.rows.length
    groups.push({
      columns: chunks,
      total_byte_size: BigInt(sink.bytes - start),
      num_rows: BigInt(batch.rows.length),
      file_offset: BigInt(start),
      total_compressed_size: BigInt(sink.bytes - start),
    })
  })

  async function writeChunk(column: ParquetColumn, batch: RowBatch): Promise<ColumnChunk> {
    const start = sink.bytes
    let dataOffset = start
    let values = 0
    const pages = column.pages(batch)
    for (const page of pages) {
      const size = page.body.reduce((sum, part) => sum + part.length, 0)
      if (!page.dictionary) {
        dataOffset = sink.bytes
        values += page.count
      }
      await sink.write(pageHeader(page, size), ...page.body)
    }
    const size = BigInt(sink.bytes - start)
    return {
      file_offset: BigInt(start),
      meta_data: {
        type: column.type,
        encodings: column.encodings,
        path_in_schema: column.path,
        codec: 'UNCOMPRESSED',
        num_values: BigInt(values),
        total_uncompressed_size: size,
        total_compressed_size: size,
        data_page_offset: BigInt(dataOffset),
        ...(dataOffset > start ? { dictionary_page_offset: BigInt(start) } : {}),
      },
    }
  }

  return {
    append: (batch) => rebatcher.append(batch),
    async finish() {
      await rebatcher.flush()
      const top = columns.map((column) => column.schema)
      const metadata: FileMetaData = {
        version: 2,
        schema: [{ name: 'schema', num_children: top.length }, ...top.flat()],
        num_rows: BigInt(rows),
        row_groups: groups,
        key_value_metadata: [
          { key: 'ARROW:schema', value: encodeArrowSchema(shardSchema(spec)) },
          ...Object.entries(spec.provenance).map(([key, value]) => ({ key, value })),
        ],
        created_by: 'vtp',
        metadata_length: 0,
      }
      await sink.write(encodeFooter(metadata), MAGIC)
      return [{ name, ...(await sink.finish()) }]
    },
    abort: () => sink.abort(),
  }
}

const THRIFT_EMPTY_LIST_OF_STRUCTS = 0x0c

function encodeFooter(metadata: FileMetaData): Uint8Array {
  const encode = (groups: RowGroup[]): Uint8Array => {
    const writer = new ByteWriter()
    writeMetadata(writer, { ...metadata, row_groups: groups })
    return new Uint8Array(writer.getBuffer())
  }
  const footer = encode(metadata.row_groups)
  if (metadata.row_groups.length > 0) return footer
  // The thrift writer guesses a list's element type from its first element. Strict readers (parquet-rs) want
  // that of an empty list, too: its header is the first byte that a group would change.
  const other = encode([{ columns: [], total_byte_size: 0n, num_rows: 0n }])
  footer[footer.findIndex((byte, i) => byte !== other[i])] = THRIFT_EMPTY_LIST_OF_STRUCTS
  return footer
}

function pageHeader(page: Page, size: number): Uint8Array {
  const writer = new ByteWriter()
  const { count, encoding } = page
  serializeTCompactProtocol(writer, {
    field_1: page.dictionary ? 2 : 0,
    field_2: size,
    field_3: size,
    ...(page.dictionary
      ? { field_7: { field_1: count, field_2: encoding } }
      : { field_5: { field_1: count, field_2: encoding, field_3: RLE, field_4: RLE } }),
  })
  return new Uint8Array(writer.getBuffer())
}

/** The schema message of the Arrow stream format, base64, as Arrow's own writers store it. */
function encodeArrowSchema(schema: Schema): string {
  const writer = new RecordBatchStreamWriter()
  writer.reset(undefined, schema)
  writer.finish()
  const stream = Buffer.from(writer.toUint8Array(true))
  // Continuation marker, length, message; the end-of-stream marker that follows does not belong to it.
  return stream.subarray(0, 8 + stream.readUInt32LE(4)).toString('base64')
}

function fileColumns(spec: ShardSpec): ParquetColumn[] {
  return [
    textColumn('key', 'REQUIRED', (batch) => batch.rows.map((row) => row.key)),
    textColumn('uri', 'REQUIRED', (batch) => batch.rows.map((row) => row.uri)),
    ...(spec.imagePaths ? [textColumn('image_path', 'REQUIRED', (batch) => batch.rows.map((row) => row.uri))] : []),
    intColumn('label', 'OPTIONAL', (batch) => batch.rows.map((row) => row.label)),
    ...(spec.captions ? [textColumn('caption', 'OPTIONAL', (batch) => batch.rows.map((row) => row.caption))] : []),
    ...(spec.metadata
      ? [textColumn('metadata', 'OPTIONAL', (batch) => batch.rows.map((row) => row.metadata ?? null))]
      : []),
    intColumn('width', 'REQUIRED', (batch) => batch.rows.map((row) => row.width)),
    intColumn('height', 'REQUIRED', (batch) => batch.rows.map((row) => row.height)),
    {
      schema: [{ name: 'sha256', type: 'FIXED_LEN_BYTE_ARRAY', type_length: 32, repetition_type: 'REQUIRED' }],
      path: ['sha256'],
      type: 'FIXED_LEN_BYTE_ARRAY',
      encodings: ['PLAIN'],
      pages: ({ rows }) => [
        { dictionary: false, count: rows.length, encoding: PLAIN, body: [Buffer.concat(rows.map((r) => r.sha256))] },
      ],
    },
    ...spec.columns.map(tensorColumn),
  ]
}

type Repetition = 'REQUIRED' | 'OPTIONAL'

/** Definition levels (0 or 1) of an optional column as run lengths, with their length in front. */
function presence(values: unknown[]): Uint8Array {
  const writer = new ByteWriter()
  for (let i = 0; i < values.length; ) {
    const present = values[i] !== null
    let end = i
    while (end < values.length && (values[end] !== null) === present) end++
    writer.appendVarInt((end - i) << 1)
    writer.appendUint8(present ? 1 : 0)
    i = end
  }
  return withLength(new Uint8Array(writer.getBuffer()))
}

function withLength(bytes: Uint8Array): Uint8Array {
  const out = Buffer.alloc(4 + bytes.length)
  out.writeUInt32LE(bytes.length)
  out.set(bytes, 4)
  return out
}

function textColumn(name: string, repetition: Repetition, get: (batch: RowBatch) => (string | null)[]): ParquetColumn {
  return {
    schema: [
      {
        name,
        type: 'BYTE_ARRAY',
        repetition_type: repetition,
        converted_type: 'UTF8',
        logical_type: { type: 'STRING' },
      },
    ],
    path: [name],
    type: 'BYTE_ARRAY',
    encodings: ['PLAIN', 'RLE'],
    pages(batch) {
      const values = get(batch)
      const parts = values.filter((value) => value !== null).map((value) => withLength(Buffer.from(value)))
      const levels = repetition === 'OPTIONAL' ? [presence(values)] : []
      return [{ dictionary: false, count: values.length, encoding: PLAIN, body: [...levels, Buffer.concat(parts)] }]
    },
  }
}

function intColumn(name: string, repetition: Repetition, get: (batch: RowBatch) => (number | null)[]): ParquetColumn {
  return {
    schema: [{ name, type: 'INT32', repetition_type: repetition }],
    path: [name],
    type: 'INT32',
    encodings: ['PLAIN', 'RLE'],
    pages(batch) {
      const values = get(batch)
      const present = Int32Array.from(values.filter((value) => value !== null))
      const levels = repetition === 'OPTIONAL' ? [presence(values)] : []
      return [
        { dictionary: false, count: values.length, encoding: PLAIN, body: [...levels, new Uint8Array(present.buffer)] },
      ]
    },
  }
}

const ELEMENTS = {
  float16: { type: 'FIXED_LEN_BYTE_ARRAY', type_length: 2, logical_type: { type: 'FLOAT16' } },
  float32: { type: 'FLOAT' },
  uint8: { type: 'INT32', converted_type: 'UINT_8' },
  int32: { type: 'INT32' },
} as const

/** required group NAME (LIST) { repeated group list { optional ELEMENT item } } */
function tensorColumn(column: TensorColumn): ParquetColumn {
  const element = ELEMENTS[column.dtype]
  const size = columnSize(column)
  const bytes = column.dtype === 'uint8'
  return {
    schema: [
      {
        name: column.name,
        repetition_type: 'REQUIRED',
        num_children: 1,
        converted_type: 'LIST',
        logical_type: { type: 'LIST' },
      },
      { name: 'list', repetition_type: 'REPEATED', num_children: 1 },
      { name: 'item', repetition_type: 'OPTIONAL', ...element },
    ],
    path: [column.name, 'list', 'item'],
    type: element.type,
    encodings: bytes ? ['PLAIN', 'RLE', 'RLE_DICTIONARY'] : ['PLAIN', 'RLE'],
    pages(batch) {
      const rows = batch.rows.length
      const data = batch.tensors[column.name]!
      const memory = new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
      const levels = [listLevels(rows, size), presentLevels(rows * size)]
      if (!bytes) return [{ dictionary: false, count: rows * size, encoding: PLAIN, body: [...levels, memory] }]
      const identity = Int32Array.from({ length: 256 }, (_, i) => i)
      const groups = Math.ceil(memory.length / 8)
      const head = new ByteWriter()
      head.appendUint8(8) // bits per index
      head.appendVarInt((groups << 1) | 1) // one bit-packed run of groups of 8
      const rest = new Uint8Array(groups * 8 - memory.length)
      return [
        { dictionary: true, count: 256, encoding: PLAIN, body: [new Uint8Array(identity.buffer)] },
        {
          dictionary: false,
          count: rows * size,
          encoding: RLE_DICTIONARY,
          body: [...levels, new Uint8Array(head.getBuffer()), memory, rest],
        },
      ]
    },
  }
}

/** Repetition levels of lists of one size: a 0, then size − 1 times 1, for each row. */
function listLevels(rows: number, size: number): Uint8Array {
  const writer = new ByteWriter()
  for (let row = 0; row < rows; row++) {
    writer.appendVarInt(1 << 1)
    writer.appendUint8(0)
    if (size > 1) {
      writer.appendVarInt((size - 1) << 1)
      writer.appendUint8(1)
    }
  }
  return withLength(new Uint8Array(writer.getBuffer()))
}

/** Definition levels when every element is there: 2, once. */
function presentLevels(count: number): Uint8Array {
  const writer = new ByteWriter()
  writer.appendVarInt(count * 2)
  writer.appendUint8(2)
  return withLength(new Uint8Array(writer.getBuffer()))
}
