/** NumPy's files as files of named tensors: `.npy` is read by ranges, an `.npz` array whole. */
import { open } from 'node:fs/promises'
import path from 'node:path'
import { errorText, usageError, VtpError } from '../../errors.js'
import type { TensorFile } from '../named-tensors.js'
import { readFully } from '../read-fully.js'
import { NPY_BYTES, npyHeaderBytes, npyToFloat64, parseNpyHeader } from './npy.js'
import { openNpz } from './npz.js'

interface Range {
  start: number
  count: number
}

/** True for names that NumPy's files have. */
export function isNumpyName(file: string): boolean {
  return /\.np[yz]$/i.test(file)
}

/** Throws VtpErrors `file_unreadable`, `bad_npy`, `bad_zip`. The array of a `.npy` file is called `tensor`. */
export async function openNumpyTensors(file: string): Promise<TensorFile> {
  const { arrays, read, close } = /\.npz$/i.test(file) ? await fromNpz(file) : await fromNpy(file)
  return {
    path: file,
    shapes: new Map([...arrays].map(([name, { shape }]) => [name, shape])),
    dtypes: new Map([...arrays].map(([name, { descr }]) => [name, descr])),
    readFloat32: async (name, range) => {
      const { descr } = arrays.get(name)!
      if (!descr.startsWith('<f'))
        throw usageError('bad_dtype', `"${name}" in ${file} is ${descr}; floats were expected`)
      return Float32Array.from(await read(name, range))
    },
    readIntegers: async (name) => {
      const { descr } = arrays.get(name)!
      if (!/^<[iu]/.test(descr))
        throw usageError('bad_dtype', `"${name}" in ${file} is ${descr}; integers of 2 to 8 bytes were expected`)
      return Array.from(await read(name))
    },
    close,
  }
}

async function fromNpz(file: string) {
  const npz = await openNpz(file)
  let whole: { name: string; values: Promise<Float64Array> } | undefined
  const read = async (name: string, range?: Range): Promise<Float64Array> => {
    if (whole?.name !== name) whole = { name, values: npz.readFloat64(name) }
    const values = await whole.values
    return range ? values.subarray(range.start, range.start + range.count) : values
  }
  return { arrays: npz.arrays, read, close: () => npz.close() }
}

async function fromNpy(file: string) {
  const handle = await open(file).catch((error: unknown) => {
    throw new VtpError(`${file} cannot be opened: ${errorText(error)}`, { code: 'file_unreadable', cause: error })
  })
  try {
    const { size } = await handle.stat()
    const start = Buffer.alloc(Math.min(12, size))
    await readFully(handle, start, 0)
    const header = Buffer.alloc(npyHeaderBytes(start, file))
    await readFully(handle, header, 0)
    const { descr, shape, dataOffset } = parseNpyHeader(header, file)
    const width = NPY_BYTES[descr]!
    const total = shape.reduce((a, b) => a * b, 1)
    if (size < dataOffset + total * width)
      throw new VtpError(`${path.basename(file)} ends early: [${shape}] of ${descr}`, { code: 'bad_npy' })
    const read = async (_name: string, range: Range = { start: 0, count: total }): Promise<Float64Array> => {
      const bytes = Buffer.alloc(range.count * width)
      await readFully(handle, bytes, dataOffset + range.start * width)
      return npyToFloat64(bytes, descr, file)
    }
    return { arrays: new Map([['tensor', { descr, shape }]]), read, close: () => handle.close() }
  } catch (error) {
    await handle.close()
    throw error
  }
}
