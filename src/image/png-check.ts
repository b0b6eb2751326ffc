/**
 * The checks that Pillow makes on a PNG file before its pixels and libpng does not (src/PIL/PngImagePlugin.py):
 * every chunk up to the first IDAT must have a plausible name and a right checksum. A file that fails them
 * is damaged in its header, palette or colour description, so its pixels cannot be trusted either.
 */
import { crc32 } from 'node:zlib'

export interface PngHeader {
  width: number
  height: number
  bitDepth: number
  /** 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha. */
  colourType: number
  channels: number
  interlaced: boolean
}

/** Checks the chunks up to the first IDAT. Throws an Error for a file that Pillow would refuse to open. */
export function checkPng(bytes: Uint8Array): PngHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let header: PngHeader | undefined
  let at = 8
  for (;;) {
    if (at + 8 > bytes.length) throw new Error('the PNG file is truncated')
    const length = view.getUint32(at)
    const name = String.fromCharCode(...bytes.subarray(at + 4, at + 8))
    if (!/^\w{4}$/.test(name)) throw new Error(`the PNG file has a chunk named ${JSON.stringify(name)}`)
    if (name === 'IDAT') {
      if (!header) throw new Error('the PNG file has no header')
      return header
    }
    if (name === 'IEND') throw new Error('the PNG file has no pixels')
    const end = at + 8 + length
    if (end + 4 > bytes.length) throw new Error('the PNG file is truncated')
    if (crc32(bytes.subarray(at + 4, end)) !== view.getUint32(end)) {
      throw new Error(`the checksum of the PNG chunk ${name} is wrong`)
    }
    if (name === 'IHDR' && length >= 13) {
      const [width, height] = [view.getUint32(at + 8), view.getUint32(at + 12)]
      const colourType = bytes[at + 17]!
      const channels = [1, 1, 3, 1, 2, 1, 4][colourType] ?? 4
      header = { width, height, bitDepth: bytes[at + 16]!, colourType, channels, interlaced: bytes[at + 20] !== 0 }
    }
    at = end + 4
  }
}
