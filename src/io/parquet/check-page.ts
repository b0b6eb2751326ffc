/**
 * Whether a page holds what its header claims. A count that is wrong by one bit would move all later rows, so that
 * counts are compared with the levels and values themselves. Layouts are those of the Parquet format's description
 * (https://parquet.apache.org/docs/file-format/data-pages/encodings/).
 */
import type { PageHeader } from 'hyparquet'
import { deltaBinaryUnpack } from 'hyparquet/src/delta.js'
import { readRleBitPackedHybrid } from 'hyparquet/src/encoding.js'
import { getMaxDefinitionLevel } from 'hyparquet/src/schema.js'
import { readVarInt } from 'hyparquet/src/thrift.js'
import type { ColumnDecoder } from 'hyparquet/src/types.js'

const BYTES_ENCODINGS = new Set([
  'PLAIN',
  'PLAIN_DICTIONARY',
  'RLE_DICTIONARY',
  'DELTA_LENGTH_BYTE_ARRAY',
  'DELTA_BYTE_ARRAY',
])
/** Bytes of a value of a fixed size. */
const FIXED_BYTES: Record<string, number> = { INT32: 4, FLOAT: 4, INT64: 8, DOUBLE: 8, INT96: 12 }

/**
 * The rows that a data page's header claims: a whole number from 0 on. Throws an Error for other kinds of pages and
 * for counts that contradict each other. Columns are not repeated, so that each value is a row.
 */
export function claimedRows({ type, data_page_header: v1, data_page_header_v2: v2 }: PageHeader): number {
  if (type === 'DATA_PAGE' && v1 && v1.num_values >= 0) return v1.num_values
  if (type !== 'DATA_PAGE_V2' || !v2) throw new Error(`a page of the kind ${type} is not known, or has no count`)
  const { num_values, num_rows, num_nulls } = v2
  if (!(num_rows === num_values && num_nulls >= 0 && num_nulls <= num_values) || v2.repetition_levels_byte_length !== 0)
    throw new Error(`a page claims ${num_rows} rows, ${num_values} values and ${num_nulls} nulls`)
  return num_values
}

/**
 * Throws an Error where a page with its header does not fill `bytes`, or is not what is expected: `rows` rows, or a
 * dictionary where they are undefined.
 */
export function checkHeader(
  { header, size }: { header: PageHeader; size: number },
  { bytes, rows }: { bytes: number; rows?: number },
): void {
  if (size + header.compressed_page_size !== bytes) throw new Error('a page has another size than its header says')
  if (rows === undefined) {
    if (header.type !== 'DICTIONARY_PAGE') throw new Error('there is no dictionary where it should be')
    return
  }
  const claimed = claimedRows(header)
  if (claimed !== rows) throw new Error(`a page has ${claimed} rows, and ${rows} are expected`)
}

/** Throws an Error where runs (RLE and bit-packed, `width` bits) hold another number of values than `count`. */
function checkRuns(bytes: Uint8Array, width: number, count: number): void {
  const wrong = new Error(`a page holds another number of values than ${count}`)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const at = { view, offset: 0 }
  let seen = 0
  while (seen < count) {
    if (at.offset >= bytes.length) throw wrong
    const head = readVarInt(at) >>> 0
    const isPacked = (head & 1) === 1
    const held = isPacked ? (head >>> 1) * 8 : head >>> 1
    // Only groups of packed values are filled up.
    if (held === 0 || (!isPacked && held > count - seen)) throw wrong
    const used = Math.min(held, count - seen)
    if (at.offset + (isPacked ? Math.ceil((used * width) / 8) : (width + 7) >> 3) > bytes.length) throw wrong
    at.offset += isPacked ? (held * width) / 8 : (width + 7) >> 3
    seen += held
  }
  // Some writers end with an empty run.
  if (bytes.subarray(at.offset).some((byte) => byte > 1)) throw wrong
}

/**
 * The definition levels of `count` values, each from 0 to `maxLevel`, which is above 0. Throws an Error where the bytes
 * hold another number of them, or other nulls than the header claims.
 */
export function readLevels(bytes: Uint8Array, maxLevel: number, { count, header }: Counted): number[] {
  const width = 32 - Math.clz32(maxLevel)
  checkRuns(bytes, width, count)
  const levels = new Array<number>(count)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  readRleBitPackedHybrid({ view, offset: 0 }, width, levels, bytes.length)
  if (levels.some((level) => level > maxLevel)) throw new Error(`a page has levels above ${maxLevel}`)
  const nulls = levels.filter((level) => level < maxLevel).length
  checkNulls(header, nulls)
  return levels
}

interface Counted {
  count: number
  header: PageHeader
}

function checkNulls({ data_page_header_v2 }: PageHeader, nulls: number): void {
  const claimed = data_page_header_v2?.num_nulls
  if (claimed !== undefined && claimed !== nulls) throw new Error(`a page has ${nulls} nulls, and claims ${claimed}`)
}

/**
 * Throws an Error where a page holds more or less than its header claims. `levels` are the definition levels of a page
 * of the second version; those of the first are at the front of `body`, which is decompressed.
 */
export function checkContent(
  header: PageHeader,
  { levels, body }: { levels: Uint8Array; body: Uint8Array },
  { type, element, schemaPath }: ColumnDecoder,
): void {
  const isDictionary = header.type === 'DICTIONARY_PAGE'
  const v1 = header.type === 'DATA_PAGE' ? header.data_page_header : undefined
  const known = (isDictionary ? header.dictionary_page_header : (v1 ?? header.data_page_header_v2))!
  const encoding = isDictionary ? 'PLAIN' : known.encoding
  const maxLevel = isDictionary ? 0 : getMaxDefinitionLevel(schemaPath)
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength)
  let at = 0
  let present = known.num_values
  if (type === 'BYTE_ARRAY' && !BYTES_ENCODINGS.has(encoding))
    throw new Error(`a page of byte arrays cannot have the encoding ${encoding}`)
  if (maxLevel > 0) {
    if (v1) at = 4 + view.getUint32(0, true)
    const read = readLevels(v1 ? body.subarray(4, at) : levels, maxLevel, { count: present, header })
    present = read.filter((level) => level === maxLevel).length
  } else checkNulls(header, 0)
  if (encoding.endsWith('_DICTIONARY')) {
    const bits = at < body.length ? view.getUint8(at) : 0
    if (bits > 32) throw new Error(`a page has dictionary indices of ${bits} bits`)
    if (present > 0 && (bits > 0 || body.length > at + 1)) checkRuns(body.subarray(at + 1), bits, present)
    return
  }
  if (encoding === 'PLAIN' && type === 'BYTE_ARRAY') {
    for (let i = 0; i < present; i++) at += 4 + view.getUint32(at, true)
  } else if (encoding === 'PLAIN' && type !== 'BOOLEAN')
    at += present * (FIXED_BYTES[type] ?? element.type_length ?? Number.NaN)
  else if (encoding.startsWith('DELTA_') && type !== 'INT32' && type !== 'INT64' && present > 0) {
    const suffixes = encoding === 'DELTA_BYTE_ARRAY' ? 2 : 1
    const reader = { view, offset: at }
    const lengths = new Int32Array(present)
    for (let i = 0; i < suffixes; i++) {
      const counts = { view, offset: reader.offset }
      readVarInt(counts)
      readVarInt(counts)
      if (readVarInt(counts) !== present) throw new Error(`a page holds another number of values than ${present}`)
      deltaBinaryUnpack(reader, present, lengths)
    }
    at = lengths.reduce((sum, length) => sum + length, reader.offset)
  } else return
  if (at !== body.length && present > 0) throw new Error(`the values of a page end at byte ${at} of ${body.length}`)
}
