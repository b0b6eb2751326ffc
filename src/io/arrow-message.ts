/**
 * Checks a message of the Arrow IPC format before a library reads it: every list that the library runs through
 * lies inside of the message, so that no claimed length costs time or memory that the bytes do not have.
 * Layout: google.github.io/flatbuffers/internals, arrow.apache.org Message.fbs and Schema.fbs.
 */

const SCHEMA = 1
const DICTIONARY_BATCH = 2
const RECORD_BATCH = 3
const MOST_NESTED = 64
/** Of the tables' fields, in the order of the schema files. */
const SLOT = {
  message: { type: 1, header: 2 },
  schema: { fields: 1, metadata: 2 },
  field: { children: 5, metadata: 6 },
  recordBatch: { length: 0, nodes: 1, buffers: 2 },
  dictionaryBatch: { data: 1 },
  footer: { schema: 1, dictionaries: 2, recordBatches: 3 },
} as const
const STRUCT_BYTES = 16
/** File.fbs, `Block`: int64, int32 and its padding, int64. */
const BLOCK_BYTES = 24

/**
 * Throws an Error for a header whose lists do not fit; with the size of the message's body, also for rows and buffers
 * that do not.
 */
export function checkArrowMessage(header: Buffer, bodyBytes?: number): void {
  const message = header.readUInt32LE(0)
  const type = fieldAt(header, message, SLOT.message.type)
  const body = tableAt(header, message, SLOT.message.header)
  if (type === undefined || body === undefined) throw new Error('the message has no header')
  const kind = header.readUInt8(type)
  if (kind === SCHEMA) checkSchema(header, body)
  else if (kind === RECORD_BATCH) checkBatch(header, body, bodyBytes)
  else if (kind === DICTIONARY_BATCH) {
    const batch = tableAt(header, body, SLOT.dictionaryBatch.data)
    if (batch !== undefined) checkBatch(header, batch, bodyBytes)
  } else throw new Error(`the message is of an unknown kind (${kind})`)
}

/** Where a message of a file lies. */
export interface ArrowBlock {
  offset: number
  /** Of its header, with what stands in front of it. */
  headerBytes: number
  bodyBytes: number
}

/** Checks the footer of an Arrow file, and says where its messages lie. Throws an Error when its lists do not fit. */
export function checkArrowFooter(bytes: Buffer): ArrowBlock[] {
  const footer = bytes.readUInt32LE(0)
  const schema = tableAt(bytes, footer, SLOT.footer.schema)
  if (schema === undefined) throw new Error('the footer has no schema')
  checkSchema(bytes, schema)
  return [SLOT.footer.dictionaries, SLOT.footer.recordBatches].flatMap((slot) => {
    const { start, length } = listAt(bytes, footer, slot, BLOCK_BYTES)
    return Array.from({ length }, (_, i) => {
      const at = start + i * BLOCK_BYTES
      return {
        offset: Number(bytes.readBigInt64LE(at)),
        headerBytes: bytes.readInt32LE(at + 8),
        bodyBytes: Number(bytes.readBigInt64LE(at + 16)),
      }
    })
  })
}

function checkSchema(bytes: Buffer, schema: number): void {
  let left = bytes.length // every field takes bytes: more of them are one field many times
  const checkField = (field: number, depth: number): void => {
    if (depth > MOST_NESTED || --left < 0) throw new Error('the schema is nested without end')
    listAt(bytes, field, SLOT.field.metadata, 4)
    for (const child of tablesAt(bytes, field, SLOT.field.children)) checkField(child, depth + 1)
  }
  listAt(bytes, schema, SLOT.schema.metadata, 4)
  for (const field of tablesAt(bytes, schema, SLOT.schema.fields)) checkField(field, 0)
}

function checkBatch(bytes: Buffer, batch: number, bodyBytes: number | undefined): void {
  const nodes = listAt(bytes, batch, SLOT.recordBatch.nodes, STRUCT_BYTES)
  const buffers = listAt(bytes, batch, SLOT.recordBatch.buffers, STRUCT_BYTES)
  if (bodyBytes === undefined) return
  const int64 = (at: number): number => Number(bytes.readBigInt64LE(at))
  const checkRows = (rows: number): void => {
    // The smallest element is a bit.
    if (rows < 0 || rows > bodyBytes * 8) throw new Error(`a record batch of ${bodyBytes} bytes claims ${rows} rows`)
  }
  const length = fieldAt(bytes, batch, SLOT.recordBatch.length)
  if (length !== undefined) checkRows(int64(length))
  for (let i = 0; i < nodes.length; i++) checkRows(int64(nodes.start + i * STRUCT_BYTES))
  for (let i = 0; i < buffers.length; i++) {
    const at = buffers.start + i * STRUCT_BYTES
    const [offset, size] = [int64(at), int64(at + 8)]
    if (offset < 0 || size < 0 || offset + size > bodyBytes) throw new Error('a column is cut off')
  }
}

/** Where a field of a table lies; undefined where it has its default. Reads beyond the end throw RangeErrors. */
function fieldAt(bytes: Buffer, table: number, slot: number): number | undefined {
  const vtable = table - bytes.readInt32LE(table)
  const at = 4 + slot * 2
  if (at + 2 > bytes.readUInt16LE(vtable)) return undefined
  const offset = bytes.readUInt16LE(vtable + at)
  return offset === 0 ? undefined : table + offset
}

function tableAt(bytes: Buffer, table: number, slot: number): number | undefined {
  const at = fieldAt(bytes, table, slot)
  return at === undefined ? undefined : at + bytes.readUInt32LE(at)
}

/** First element and length of a list. */
function listAt(bytes: Buffer, table: number, slot: number, elementBytes: number): { start: number; length: number } {
  const at = tableAt(bytes, table, slot)
  if (at === undefined) return { start: 0, length: 0 }
  const length = bytes.readUInt32LE(at)
  if (at + 4 + length * elementBytes > bytes.length) throw new Error(`a list claims ${length} elements`)
  return { start: at + 4, length }
}

function tablesAt(bytes: Buffer, table: number, slot: number): number[] {
  const { start, length } = listAt(bytes, table, slot, 4)
  return Array.from({ length }, (_, i) => start + i * 4 + bytes.readUInt32LE(start + i * 4))
}
