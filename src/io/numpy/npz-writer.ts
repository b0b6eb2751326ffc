/**
 * Writes NumPy's .npz as np.savez does: a zip of stored members NAME.npy, each with zip64 sizes, so that
 * any size is possible. Members are streamed; nothing but the checksum is kept. The same arrays give the
 * same bytes. Formats: numpy.lib.format (version 1.0); PKWARE APPNOTE.TXT 4.3, 4.5.3.
 */
import { type FileHandle, open } from 'node:fs/promises'
import { crc32 } from 'node:zlib'
import { encodeNpyHeader } from './npy.js'

export interface NpzMember {
  name: string
  /** NumPy's type string, e.g. "|u1" or "<i8". */
  dtype: string
  shape: number[]
  /** The values in C order, in pieces of any size. */
  data: AsyncIterable<Uint8Array> | Iterable<Uint8Array>
}

const FULL = 0xffffffff
/** Version 4.5 (zip64), no flags, stored, 1980-01-01 00:00. */
const COMMON = Buffer.from([45, 0, 0, 0, 0, 0, 0, 0, 0x21, 0])

function numbers(...fields: [value: number | bigint, bytes: 2 | 4 | 8][]): Buffer {
  return Buffer.concat(
    fields.map(([value, bytes]) => {
      const out = Buffer.alloc(8)
      out.writeBigUInt64LE(BigInt(value))
      return out.subarray(0, bytes)
    }),
  )
}

/** Writes the file. Throws system errors; a member's data decides its size, which must be that of its shape. */
export async function writeNpz(file: string, members: NpzMember[]): Promise<void> {
  const handle = await open(file, 'w')
  try {
    let at = 0
    const write = async (bytes: Uint8Array): Promise<void> => {
      await writeAll(handle, bytes, at)
      at += bytes.length
    }
    const directory: Buffer[] = []
    for (const member of members) {
      const name = Buffer.from(`${member.name}.npy`)
      const offset = at
      const local = (crc: number, size: number): Buffer =>
        Buffer.concat([
          Buffer.from('PK\x03\x04'),
          COMMON,
          numbers([crc, 4], [FULL, 4], [FULL, 4], [name.length, 2], [20, 2]),
          name,
          numbers([1, 2], [16, 2], [size, 8], [size, 8]),
        ])
      await write(local(0, 0))
      const start = at
      const head = encodeNpyHeader(member.dtype, member.shape)
      let crc = crc32(head)
      await write(head)
      for await (const piece of member.data) {
        crc = crc32(piece, crc)
        await write(piece)
      }
      const size = at - start
      await writeAll(handle, local(crc, size), offset)
      directory.push(
        Buffer.concat([
          Buffer.from('PK\x01\x02'),
          numbers([45, 2]),
          COMMON,
          numbers([crc, 4], [FULL, 4], [FULL, 4], [name.length, 2], [28, 2]),
          numbers([0, 2], [0, 2], [0, 2], [0, 4], [FULL, 4]),
          name,
          numbers([1, 2], [24, 2], [size, 8], [size, 8], [offset, 8]),
        ]),
      )
    }
    const from = at
    const central = Buffer.concat(directory)
    const count = members.length
    await write(central)
    const end64 = at
    await write(
      Buffer.concat([
        Buffer.from('PK\x06\x06'),
        numbers([44, 8], [45, 2], [45, 2], [0, 4], [0, 4], [count, 8], [count, 8], [central.length, 8], [from, 8]),
        Buffer.from('PK\x06\x07'),
        numbers([0, 4], [end64, 8], [1, 4]),
        Buffer.from('PK\x05\x06'),
        numbers([0, 2], [0, 2], [count, 2], [count, 2], [FULL, 4], [FULL, 4], [0, 2]),
      ]),
    )
    await handle.sync()
  } finally {
    await handle.close()
  }
}

async function writeAll(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, position + done)
    done += bytesWritten
  }
}
