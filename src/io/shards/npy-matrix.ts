/** A .npy file that holds one matrix of embeddings: float16 or float32, [rows, dimensions], in C order. */
import { type FileHandle, open } from 'node:fs/promises'
import { VtpError } from '../../errors.js'
import { NPY_BYTES, npyHeaderBytes, parseNpyHeader } from '../numpy/npy.js'

export const NPY_TYPES = { float16: '<f2', float32: '<f4' } as const

export interface NpyMatrix {
  handle: FileHandle
  dtype: keyof typeof NPY_TYPES
  /** [rows, dimensions] */
  shape: [number, number]
  /** Where the values begin, in bytes. */
  offset: number
}

/** Opens the file; close the handle. Throws VtpError `bad_npy` for anything else, and for files that end early. */
export async function openNpyMatrix(file: string): Promise<NpyMatrix> {
  const handle = await open(file)
  try {
    const start = Buffer.alloc(12)
    const { bytesRead } = await handle.read(start, 0, 12, 0)
    const header = Buffer.alloc(npyHeaderBytes(start.subarray(0, bytesRead), file))
    await handle.read(header, 0, header.length, 0)
    const { descr, shape, dataOffset } = parseNpyHeader(header, file)
    const dtype = descr === '<f2' ? 'float16' : descr === '<f4' ? 'float32' : undefined
    const wanted = dataOffset + shape.reduce((a, b) => a * b, 1) * NPY_BYTES[descr]!
    const { size } = await handle.stat()
    if (!dtype || shape.length !== 2 || size < wanted) {
      const what = size < wanted ? `${size} bytes, where ${wanted} were expected` : `${descr} [${shape.join(', ')}]`
      throw new VtpError(`${file} is no array of embeddings: it has ${what}`, {
        code: 'bad_npy',
        suggestions: ['give a .npy file of shape [rows, dimensions], float16 or float32'],
      })
    }
    return { handle, dtype, shape: [shape[0]!, shape[1]!], offset: dataOffset }
  } catch (error) {
    await handle.close()
    throw error
  }
}
