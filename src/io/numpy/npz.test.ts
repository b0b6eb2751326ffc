import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { crc32, deflateRawSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { tempDir } from '../../../test/support/cli.js'
import { encodeNpy, npyToFloat64 } from './npy.js'
import { encodeNpz, openNpz } from './npz.js'

describe('.npz archives', () => {
  it('come back as they were written, whole and row by row', async () => {
    const file = path.join(tempDir(), 'a.npz')
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 9 }),
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 1, max: 4 }),
        async (rows, columns, step) => {
          const data = Float64Array.from({ length: rows * columns }, (_, i) => i / 7)
          writeFileSync(
            file,
            encodeNpz([
              { name: 'mu', shape: [rows, columns], data },
              { name: 'n', shape: [1], data: BigInt64Array.of(-5n) },
            ]),
          )
          const npz = await openNpz(file)
          expect(npz.arrays.get('mu')!.shape).toEqual([rows, columns])
          expect(await npz.readFloat64('mu')).toEqual(data)
          expect([...(await npz.readFloat64('n'))]).toEqual([-5])
          let seen = 0
          for await (const { count, bytes } of npz.streamRows('mu', step)) {
            expect(bytes.length).toBe(count * columns * 8)
            expect(bytes.readDoubleLE(0)).toBe(data[seen * columns])
            seen += count
          }
          expect(seen).toBe(rows)
          await npz.close()
        },
      ),
      { numRuns: 40 },
    )
  })

  it('compressed ones are inflated as they are read', async () => {
    const npy = encodeNpy(
      Float64Array.from({ length: 5000 }, (_, i) => i % 7),
      [5000],
    )
    const packed = deflateRawSync(npy)
    const stored = encodeNpz([{ name: 'x', shape: [1], data: new Float64Array(1) }])
    // One member, by hand: the stored archive's headers with method, sizes and checksum replaced.
    const name = Buffer.from('x.npy')
    const header = (signature: string, extra: Buffer): Buffer => {
      const fields = Buffer.alloc(26)
      fields.writeUInt16LE(20, 0)
      fields.writeUInt16LE(8, 4)
      fields.writeUInt32LE(crc32(npy), 10)
      fields.writeUInt32LE(packed.length, 14)
      fields.writeUInt32LE(npy.length, 18)
      fields.writeUInt16LE(name.length, 22)
      return Buffer.concat([Buffer.from(signature, 'latin1'), fields, extra])
    }
    const local = Buffer.concat([header('PK\x03\x04', Buffer.alloc(0)), name, packed])
    const version = Buffer.from([20, 0])
    const central = Buffer.concat([Buffer.from('PK\x01\x02', 'latin1'), version, header('', Buffer.alloc(14)), name])
    const end = Buffer.from(stored.subarray(stored.length - 22))
    end.writeUInt32LE(central.length, 12)
    end.writeUInt32LE(local.length, 16)
    const file = path.join(tempDir(), 'packed.npz')
    writeFileSync(file, Buffer.concat([local, central, end]))
    const npz = await openNpz(file)
    expect((await npz.readFloat64('x'))[4999]).toBe(4999 % 7)
    await npz.close()
  })

  it('arrays of Python objects, which are pickles, are refused', async () => {
    const bytes = encodeNpz([{ name: 'o', shape: [1], data: new Float64Array(1) }])
    const at = bytes.indexOf("'<f8'")
    bytes.write("'|O8'", at)
    const file = path.join(tempDir(), 'objects.npz')
    writeFileSync(file, bytes)
    const npz = await openNpz(file)
    const refused = { code: 'bad_npy', message: expect.stringContaining('|O8') }
    await expect(npz.readFloat64('o')).rejects.toMatchObject(refused)
    await expect(npz.streamRows('o', 1).next()).rejects.toMatchObject(refused)
    await npz.close()
  })

  it('small types, and tables in Fortran order, come as float64 in C order', async () => {
    const bytes = encodeNpz([
      { name: 't', shape: [2, 3], data: Float64Array.of(1, 4, 2, 5, 3, 6) },
      { name: 'h', shape: [4, 2], data: new Float64Array(8).fill(0) },
    ])
    bytes.write('True, ', bytes.indexOf('False,'))
    const file = path.join(tempDir(), 'fortran.npz')
    writeFileSync(file, bytes)
    const npz = await openNpz(file)
    expect([...(await npz.readFloat64('t'))]).toEqual([1, 2, 3, 4, 5, 6])
    await expect(npz.streamRows('t', 1).next()).rejects.toMatchObject({ code: 'bad_npy' })
    await npz.close()
    expect([...npyToFloat64(Buffer.from([0, 0x3c, 0, 0xc0]), '<f2', 'f')]).toEqual([1, -2])
    expect([...npyToFloat64(Buffer.from([0xff, 0xff]), '<u2', 'f')]).toEqual([65535])
    expect([...npyToFloat64(Buffer.from([0xff, 0xff]), '<i2', 'f')]).toEqual([-1])
  })
})
