/** NumPy's .npy files of two-dimensional float16 and float32 arrays (numpy/lib/format.py, version 1.0). */
import { type FileHandle, open } from 'node:fs/promises'
import { VtpError } from '../errors.js'

const MAGIC = '\x93NUMPY'
const DTYPES = { float16: '<f2', float32: '<f4' } as const

export interface NpyHeader {
  dtype: 'float16' | 'float32'
  /** [rows, columns] */
  shape: [number, number]
  /** Where the values begin, in bytes. */
  offset: number
}

/** The header of a C-ordered array, padded so that the values begin at a multiple of 64 bytes. */
export function encodeNpyHeader(dtype: NpyHeader['dtype'], [rows, columns]: [number, number]): Uint8Array {
  const text = `{'descr': '${DTYPES[dtype]}', 'fortran_order': False, 'shape': (${rows}, ${columns}), }`
  const size = Math.ceil((10 + text.length + 1) / 64) * 64
  const out = Buffer.alloc(size, ' ')
  out.write(MAGIC, 'latin1')
  out.set([1, 0], 6)
  out.writeUInt16LE(size - 10, 8)
  out.write(text, 10, 'latin1')
  out[size - 1] = 0x0a
  return out
}

/** Throws VtpError `bad_npy` for anything but C-ordered [N, D] halves or floats. */
export async function readNpyHeader(handle: FileHandle, file: string): Promise<NpyHeader> {
  const start = Buffer.alloc(12)
  const { bytesRead } = await handle.read(start, 0, 12, 0)
  const fail = (what: string): VtpError =>
    new VtpError(`${file} is no array of embeddings: ${what}`, {
      code: 'bad_npy',
      suggestions: ['give a .npy file of shape [rows, dimensions], float16 or float32, in C order'],
    })
  if (bytesRead < 12 || start.toString('latin1', 0, 6) !== MAGIC) throw fail('it does not begin as .npy files do')
  const long = start[6]! > 1
  const length = long ? start.readUInt32LE(8) : start.readUInt16LE(8)
  if (length > 2 ** 20) throw fail('its header is too long')
  const at = long ? 12 : 10
  const header = Buffer.alloc(length)
  await handle.read(header, 0, length, at)
  const text = header.toString('latin1')
  const descr = /'descr': *'([^']*)'/.exec(text)?.[1]
  const dtype = descr === '<f2' ? 'float16' : descr === '<f4' ? 'float32' : undefined
  const shape = /'shape': *\((\d+), *(\d+),? *\)/.exec(text)
  if (!dtype || !shape || !/'fortran_order': *False/.test(text))
    throw fail(`its header is ${text.trim().slice(0, 120)}`)
  const found: NpyHeader = { dtype, shape: [Number(shape[1]), Number(shape[2])], offset: at + length }
  const { size } = await handle.stat()
  const wanted = found.offset + found.shape[0] * found.shape[1] * (dtype === 'float16' ? 2 : 4)
  if (size < wanted) throw fail(`it has ${size} bytes, and ${wanted} were expected`)
  return found
}

/** Reads the header of a file. */
export async function openNpy(file: string): Promise<{ header: NpyHeader; handle: FileHandle }> {
  const handle = await open(file)
  try {
    return { handle, header: await readNpyHeader(handle, file) }
  } catch (error) {
    await handle.close()
    throw error
  }
}
