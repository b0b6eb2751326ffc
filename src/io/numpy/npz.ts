/** NumPy's .npz archives: a zip of .npy files, stored or deflated, read array by array without unpacking. */
import { type FileHandle, open } from 'node:fs/promises'
import { EXIT, errorText, systemCode, VtpError } from '../../errors.js'
import { readZipDirectory, readZipMember, streamZipMember, type ZipMember } from '../zip.js'
import { zipStored } from '../zip-writer.js'
import { encodeNpy, NPY_BYTES, type NpyHeader, npyHeaderBytes, npyToFloat64, parseNpyHeader } from './npy.js'

export interface NpzArray {
  name: string
  descr: string
  shape: number[]
  /** Why it cannot be read; descr and shape say nothing then. */
  refused?: VtpError
}

export interface NpzFile {
  readonly path: string
  readonly arrays: ReadonlyMap<string, NpzArray>
  /** All elements as float64 in C order. Throws VtpError `bad_npy` for other than real numbers of 2, 4 or 8 bytes. */
  readFloat64(name: string): Promise<Float64Array>
  /** The raw bytes of consecutive rows (first axis), at most `rows` at a time. */
  streamRows(name: string, rows: number): AsyncGenerator<{ count: number; bytes: Buffer }>
  close(): Promise<void>
}

interface OpenArray extends NpzArray {
  columnMajor: boolean
  member: ZipMember
  dataOffset: number
}

/**
 * Opens an archive and reads the arrays' headers. An array that cannot be read (text, Python objects) is
 * refused when it is asked for, not before. Throws VtpError `file_unreadable` or `bad_zip`.
 */
export async function openNpz(path: string): Promise<NpzFile> {
  const handle = await open(path).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT')
      throw new VtpError(`${path} does not exist`, { code: 'file_unreadable', exitCode: EXIT.usage, cause: error })
    throw new VtpError(`${path} cannot be opened: ${errorText(error)}`, { code: 'file_unreadable', cause: error })
  })
  try {
    const arrays = new Map<string, OpenArray>()
    for (const member of (await readZipDirectory(handle, path)).values()) {
      if (!member.name.endsWith('.npy')) continue
      const name = member.name.slice(0, -'.npy'.length)
      const label = `${path} (${name})`
      try {
        arrays.set(name, { name, ...(await readHeader(handle, path, member, label)), member })
      } catch (error) {
        if (!(error instanceof VtpError) || error.code !== 'bad_npy') throw error
        arrays.set(name, {
          name,
          descr: 'unreadable',
          shape: [],
          refused: error,
          columnMajor: false,
          dataOffset: 0,
          member,
        })
      }
    }
    const get = (name: string) => {
      const found = arrays.get(name)
      if (found?.refused) throw found.refused
      if (found) return found
      throw new VtpError(`${path} has no array "${name}" (it has ${[...arrays.keys()].join(', ')})`, {
        code: 'bad_npy',
      })
    }
    return {
      path,
      arrays,
      async readFloat64(name) {
        const { member, dataOffset, descr, shape, columnMajor } = get(name)
        const bytes = (await readZipMember(handle, path, member)).subarray(dataOffset)
        const values = npyToFloat64(bytes, descr, `${path} (${name})`)
        if (!columnMajor) return values
        if (shape.length !== 2) throw fortranOrder(path, name)
        const [rows, columns] = shape as [number, number]
        return values.map((_, i) => values[(i % columns) * rows + Math.floor(i / columns)]!)
      },
      async *streamRows(name, rows) {
        const { member, dataOffset, descr, shape, columnMajor } = get(name)
        if (columnMajor) throw fortranOrder(path, name)
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

function fortranOrder(path: string, name: string): VtpError {
  return new VtpError(`${path} (${name}) is in Fortran order, which is read for tables of numbers alone`, {
    code: 'bad_npy',
    suggestions: ['save it with np.ascontiguousarray first'],
  })
}

async function readHeader(handle: FileHandle, path: string, member: ZipMember, label: string): Promise<NpyHeader> {
  let start = Buffer.alloc(0)
  let wanted = 12
  for await (const chunk of streamZipMember(handle, path, member)) {
    start = Buffer.concat([start, chunk])
    if (start.length >= 12) wanted = npyHeaderBytes(start, label)
    if (start.length >= wanted) break
  }
  const header = parseNpyHeader(start.subarray(0, wanted), label, true)
  const bytes = header.shape.reduce((a, b) => a * b, 1) * NPY_BYTES[header.descr]!
  if (header.dataOffset + bytes === member.bytes) return header
  throw new VtpError(`${label} has ${member.bytes - header.dataOffset} bytes of elements, ${bytes} expected`, {
    code: 'bad_npy',
  })
}

/** The bytes of an archive of arrays, stored, as numpy.savez writes it. */
export function encodeNpz(arrays: { name: string; shape: number[]; data: Float64Array | BigInt64Array }[]): Buffer {
  return zipStored(arrays.map(({ name, shape, data }) => [`${name}.npy`, encodeNpy(data, shape)]))
}
