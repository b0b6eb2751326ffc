/**
 * NumPy's .npy format: a magic, a header that is a Python literal, then the elements. Only plain numbers
 * are read; arrays of Python objects, which are pickles, are refused. Format: numpy/lib/format.py.
 */
import { VtpError } from '../../errors.js'
import { float16ToFloat32 } from '../../math/half.js'

export interface NpyHeader {
  /** As NumPy writes it, e.g. `<f8` or `|u1`. */
  descr: string
  shape: number[]
  /** Whether the first axis varies fastest (Fortran order). */
  columnMajor: boolean
  /** Bytes before the elements. */
  dataOffset: number
}

/** Bytes per element of the types that are read; little-endian. */
export const NPY_BYTES: Record<string, number> = {
  '<f8': 8,
  '<f4': 4,
  '<f2': 2,
  '<i8': 8,
  '<i4': 4,
  '<i2': 2,
  '<u8': 8,
  '<u4': 4,
  '<u2': 2,
  '|u1': 1,
  '|i1': 1,
  '|b1': 1,
}

const MAGIC = '\x93NUMPY'

function damaged(file: string, what: string): VtpError {
  return new VtpError(`${file} is not a NumPy array that can be read: ${what}`, { code: 'bad_npy' })
}

/** Length of the header by the file's first 12 bytes. */
export function npyHeaderBytes(start: Buffer, file: string): number {
  if (start.length < 12 || start.toString('latin1', 0, 6) !== MAGIC) throw damaged(file, 'it does not begin as one')
  const bytes = start[6] === 1 ? 10 + start.readUInt16LE(8) : 12 + start.readUInt32LE(8)
  if (start[6]! > 3 || bytes > 65_536) throw damaged(file, 'its header is malformed')
  return bytes
}

/** Parses a header. Throws VtpError `bad_npy`, also for element types that are no numbers, and for Fortran order unless `anyOrder`. */
export function parseNpyHeader(header: Buffer, file: string, anyOrder = false): NpyHeader {
  const text = header.toString('latin1', header[6] === 1 ? 10 : 12)
  const descr = /'descr':\s*'([^']*)'/.exec(text)?.[1]
  const shape = /'shape':\s*\(([\d\s,L]*)\)/.exec(text)?.[1]
  if (shape === undefined || descr === undefined) throw damaged(file, 'its header names no plain type and shape')
  if (!(descr in NPY_BYTES))
    throw damaged(file, `its elements are ${descr}; ${Object.keys(NPY_BYTES).join(', ')} are read`)
  const sizes = shape
    .split(',')
    .map((part) => part.replace('L', '').trim())
    .filter(Boolean)
    .map(Number)
  const columnMajor = /'fortran_order':\s*True/.test(text) && sizes.filter((size) => size > 1).length > 1
  if (columnMajor && !anyOrder) throw damaged(file, 'it is in Fortran order')
  return { descr, shape: sizes, columnMajor, dataOffset: header.length }
}

/** Elements as float64, whatever real type they are. */
export function npyToFloat64(data: Buffer, descr: string, file: string): Float64Array {
  const bytes = Uint8Array.from(data)
  switch (descr) {
    case '<f8':
      return new Float64Array(bytes.buffer)
    case '<f4':
      return Float64Array.from(new Float32Array(bytes.buffer))
    case '<i8':
      return Float64Array.from(new BigInt64Array(bytes.buffer), Number)
    case '<f2':
      return Float64Array.from(float16ToFloat32(new Uint16Array(bytes.buffer)))
    case '<i4':
      return Float64Array.from(new Int32Array(bytes.buffer))
    case '<i2':
      return Float64Array.from(new Int16Array(bytes.buffer))
    case '<u8':
      return Float64Array.from(new BigUint64Array(bytes.buffer), Number)
    case '<u4':
      return Float64Array.from(new Uint32Array(bytes.buffer))
    case '<u2':
      return Float64Array.from(new Uint16Array(bytes.buffer))
    default:
      throw damaged(file, `its elements are ${descr}; numbers of 2, 4 or 8 bytes were expected`)
  }
}

/** The head of a .npy file: magic, version 1, and the padded literal of type and shape. */
export function encodeNpyHeader(descr: string, shape: number[]): Buffer {
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(', ')})`
  const text = `{'descr': '${descr}', 'fortran_order': False, 'shape': ${tuple}, }`
  const total = Math.ceil((10 + text.length + 1) / 64) * 64
  const header = Buffer.alloc(total, 0x20)
  header.write(MAGIC, 'latin1')
  header[6] = 1
  header[7] = 0
  header.writeUInt16LE(total - 10, 8)
  header.write(text, 10, 'latin1')
  header[total - 1] = 0x0a
  return header
}

/** The bytes of a .npy file with float64 or int64 elements, as numpy.save writes it (version 1). */
export function encodeNpy(data: Float64Array | BigInt64Array, shape: number[]): Buffer {
  const header = encodeNpyHeader(data instanceof Float64Array ? '<f8' : '<i8', shape)
  return Buffer.concat([header, Buffer.from(data.buffer, data.byteOffset, data.byteLength)])
}
