/** NumPy's .npz archives: a zip of .npy files, stored or deflated, read array by array without unpacking. */
import { open } from 'node:fs/promises'
import { errorText, VtpError } from '../../errors.js'
import { zipStored } from '../torch/write.js'
import { readZipDirectory, readZipMember, streamZipMember, type ZipMember } from '../zip.js'
import { encodeNpy, NPY_BYTES, npyHeaderBytes, npyToFloat64, parseNpyHeader } from './npy.js'

export interface NpzArray {
  name: string
  descr: string
  shape: number[]
}

export interface NpzFile {
  readonly path: string
  readonly arrays: ReadonlyMap<string, NpzArray>
  /** All elements as float64. Throws VtpError `bad_npy` for other than real numbers of 4 or 8 bytes. */
  readFloat64(name: string): Promise<Float64Array>
  /** The raw bytes of consecutive rows (first axis), at most `rows` at a time. */
  streamRows(name: string, rows: number): AsyncGenerator<{ count: number; bytes: Buffer }>
  close(): Promise<void>
}

/** Opens an archive and reads the arrays' headers. Throws VtpError `file_unreadable`, `bad_zip` or `bad_npy`. */
export async function openNpz(path: string): Promise<NpzFile> {
  const handle = await open(path).catch((error: unknown) => {
    throw new VtpError(`${path} cannot be opened: ${errorText(error)}`, { code: 'file_unreadable', cause: error })
  })
  try {
    const arrays = new Map<string, NpzArray & { member: ZipMember; dataOffset: number }>()
    for (const member of (await readZipDirectory(handle, path)).values()) {
      if (!member.name.endsWith('.npy')) continue
      const name = member.name.slice(0, -'.npy'.length)
      const label = `${path} (${name})`
      let start = Buffer.alloc(0)
      let wanted = 12
      for await (const chunk of streamZipMember(handle, path, member)) {
        start = Buffer.concat([start, chunk])
        if (start.length >= 12) wanted = npyHeaderBytes(start, label)
        if (start.length >= wanted) break
      }
      const header = parseNpyHeader(start.subarray(0, wanted), label)
      const bytes = header.shape.reduce((a, b) => a * b, 1) * NPY_BYTES[header.descr]!
      if (header.dataOffset + bytes !== member.bytes)
        throw new VtpError(`${label} has ${member.bytes - header.dataOffset} bytes of elements, ${bytes} expected`, {
          code: 'bad_npy',
        })
      arrays.set(name, { name, ...header, member })
    }
    const get = (name: string) => {
      const found = arrays.get(name)
      if (found) return found
      throw new VtpError(`${path} has no array "${name}" (it has ${[...arrays.keys()].join(', ')})`, {
        code: 'bad_npy',
      })
    }
    return {
      path,
      arrays,
      async readFloat64(name) {
        const { member, dataOffset, descr } = get(name)
        return npyToFloat64(
          (await readZipMember(handle, path, member)).subarray(dataOffset),
          descr,
          `${path} (${name})`,
        )
      },
      async *streamRows(name, rows) {
        const { member, dataOffset, descr, shape } = get(name)
        const rowBytes = shape.slice(1).reduce((a, b) => a * b, 1) * NPY_BYTES[descr]!
        let held: Buffer[] = []
        let size = 0
        let skip = dataOffset
        for await (const chunk of streamZipMember(handle, path, member)) {
          const part = chunk.subarray(Math.min(skip, chunk.length))
          skip -= Math.min(skip, chunk.length)
          held.push(part)
          size += part.length
          if (size < rowBytes * rows) continue
          const bytes = Buffer.concat(held)
          const step = rowBytes * rows
          const whole = Math.floor(size / step) * step
          for (let at = 0; at < whole; at += step) yield { count: rows, bytes: bytes.subarray(at, at + step) }
          held = [bytes.subarray(whole)]
          size -= whole
        }
        if (size > 0) yield { count: size / rowBytes, bytes: Buffer.concat(held) }
      },
      close: () => handle.close(),
    }
  } catch (error) {
    await handle.close()
    throw error
  }
}

/** The bytes of an archive of arrays, stored, as numpy.savez writes it. */
export function encodeNpz(arrays: { name: string; shape: number[]; data: Float64Array | BigInt64Array }[]): Buffer {
  return zipStored(arrays.map(({ name, shape, data }) => [`${name}.npy`, encodeNpy(data, shape)]))
}
