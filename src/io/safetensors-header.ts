/** Headers of safetensors files that are written: the half of the format that needs no checking (safetensors.ts). */

export const DTYPE_BYTES = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E5M2: 1,
  F8_E4M3: 1,
  I16: 2,
  U16: 2,
  F16: 2,
  BF16: 2,
  I32: 4,
  U32: 4,
  F32: 4,
  F64: 8,
  I64: 8,
  U64: 8,
} as const
export type SafetensorsDtype = keyof typeof DTYPE_BYTES

export interface HeaderEntry {
  name: string
  dtype: SafetensorsDtype
  shape: number[]
}

export interface EncodedHeader {
  /** Length prefix and padded JSON: everything before the data. */
  bytes: Uint8Array
  /** Order in which the tensors' data must follow. */
  order: HeaderEntry[]
  /** Bytes of the data. */
  dataBytes: number
}

/** A header as the official writer makes it: larger element types first, then by name; data 8-byte aligned. */
export function encodeSafetensorsHeader(entries: HeaderEntry[], metadata: Record<string, string> = {}): EncodedHeader {
  const order = [...entries].sort(
    (a, b) => DTYPE_BYTES[b.dtype] - DTYPE_BYTES[a.dtype] || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0),
  )
  const fields: [string, unknown][] = Object.keys(metadata).length > 0 ? [['__metadata__', metadata]] : []
  let offset = 0
  for (const { name, dtype, shape } of order) {
    const bytes = shape.reduce((a, b) => a * b, 1) * DTYPE_BYTES[dtype]
    fields.push([name, { dtype, shape, data_offsets: [offset, offset + bytes] }])
    offset += bytes
  }
  const json = Buffer.from(JSON.stringify(Object.fromEntries(fields)))
  const padded = Math.ceil(json.length / 8) * 8
  const bytes = Buffer.alloc(8 + padded, 0x20)
  bytes.writeBigUInt64LE(BigInt(padded))
  json.copy(bytes, 8)
  return { bytes, order, dataBytes: offset }
}
