import { describe, expect, it } from 'vitest'
import { decodeImage } from './decode.js'

/** A BMP of 8 bits with a palette of 16 colours (i·16, i, 255 − i), its pixels as given. */
function bmp(more: {
  bits: number
  compression: number
  data: number[]
  headerBytes?: number
  masks?: number[]
}): Buffer {
  const { bits, compression, data, headerBytes = 40, masks = [] } = more
  const header = Buffer.alloc(14 + headerBytes)
  header.write('BM')
  const palette = Buffer.concat(Array.from({ length: 16 }, (_, i) => Buffer.from([255 - i, i, i * 16, 0])))
  const after = bits <= 8 ? palette : Buffer.from(Uint32Array.from(masks).buffer)
  header.writeUInt32LE(header.length + after.length, 10)
  header.writeUInt32LE(headerBytes, 14)
  header.writeInt32LE(6, 18)
  header.writeInt32LE(3, 22)
  header.writeUInt16LE(1, 26)
  header.writeUInt16LE(bits, 28)
  header.writeUInt32LE(compression, 30)
  header.writeUInt32LE(bits <= 8 ? 16 : 0, 46)
  return Buffer.concat([header, after, Buffer.from(data)])
}

/** Palette indices, rows top to bottom, as the red values say. */
async function indices(file: Buffer): Promise<number[]> {
  const { data } = await decodeImage(file)
  return Array.from({ length: 18 }, (_, i) => data[i * 3]! / 16)
}

describe('run lengths in BMP', () => {
  it.each([
    [
      'a distance to the right and up',
      [2, 5, 0, 2, 1, 1, 3, 7, 0, 0, 6, 9, 0, 1],
      [5, 5, 0, 0, 0, 0, 0, 0, 0, 7, 7, 7, 9, 9, 9, 9, 9, 9],
    ],
    [
      'a distance that begins a row',
      [0, 2, 0, 1, 6, 4, 0, 0, 6, 3, 0, 1],
      [0, 0, 0, 0, 0, 0, 4, 4, 4, 4, 4, 4, 3, 3, 3, 3, 3, 3],
    ],
    [
      'a run of single values, padded',
      [0, 3, 1, 2, 3, 0, 3, 8, 0, 0, 6, 6, 0, 0, 6, 7, 0, 1],
      [1, 2, 3, 8, 8, 8, 6, 6, 6, 6, 6, 6, 7, 7, 7, 7, 7, 7],
    ],
  ])('of 8 bits: %s', async (_, data, bottomUp) => {
    const rows = [bottomUp.slice(12), bottomUp.slice(6, 12), bottomUp.slice(0, 6)].flat()
    expect(await indices(bmp({ bits: 8, compression: 1, data }))).toEqual(rows)
  })

  it('of 4 bits: distances are the two bytes behind the escape', async () => {
    const data = [3, 0x12, 0, 2, 2, 1, 1, 0x30, 0, 0, 6, 0x45, 0, 1]
    const rows = [4, 5, 4, 5, 4, 5, 0, 0, 0, 0, 0, 3, 1, 2, 1, 0, 0, 0]
    expect(await indices(bmp({ bits: 4, compression: 2, data }))).toEqual(rows)
  })
})

describe('sound BMP files of kinds that are not read are refused by their name', () => {
  it.each([
    ['2 bits per pixel', bmp({ bits: 2, compression: 0, data: [] })],
    ['compression 4', bmp({ bits: 24, compression: 4, data: [] })],
    ['a header of 16 bytes', bmp({ bits: 24, compression: 0, data: [], headerBytes: 40 }).fill(16, 14, 15)],
    ['such bit fields', bmp({ bits: 16, compression: 3, data: new Array(40).fill(0), masks: [0xf00, 0xf0, 0xf] })],
  ])('%s', async (name, file) => {
    await expect(decodeImage(file)).rejects.toMatchObject({
      code: 'unsupported_format',
      message: `BMP with ${name} is not read`,
    })
  })
})
