/**
 * BMP as Pillow reads it (src/PIL/BmpImagePlugin.py): 1, 4, 8, 16, 24 and 32 bits per pixel, bottom-up or
 * top-down, RLE4/RLE8, and the bit-field masks that Pillow knows. Alpha is dropped.
 */
import type { RgbImage } from '../types.js'

const BI_RGB = 0
const BI_RLE8 = 1
const BI_RLE4 = 2
const BI_BITFIELDS = 3

interface Header {
  width: number
  height: number
  topDown: boolean
  bits: number
  compression: number
  dataOffset: number
  palette: Uint8Array // [256, 3] RGB
  masks: [number, number, number] | undefined
}

function readHeader(view: DataView, bytes: Uint8Array): Header {
  const dataOffset = view.getUint32(10, true)
  const size = view.getUint32(14, true)
  let [width, height, bits, compression, colours, entry] = [0, 0, 0, BI_RGB, 0, 4]
  let masks: Header['masks']
  let topDown = false
  if (size === 12) {
    width = view.getUint16(18, true)
    height = view.getUint16(20, true)
    bits = view.getUint16(24, true)
    entry = 3
  } else if ([40, 52, 56, 64, 108, 124].includes(size)) {
    width = view.getInt32(18, true)
    height = view.getInt32(22, true)
    topDown = height < 0
    height = Math.abs(height)
    bits = view.getUint16(28, true)
    compression = view.getUint32(30, true)
    colours = view.getUint32(46, true)
    if (compression === BI_BITFIELDS) {
      // Older headers have the masks behind them, newer ones inside: the same place.
      masks = [view.getUint32(54, true), view.getUint32(58, true), view.getUint32(62, true)]
    }
  } else throw new Error(`a BMP header of ${size} bytes is unknown`)
  const palette = new Uint8Array(768)
  if (bits <= 8) {
    const count = colours || 1 << bits
    if (count > 65536) throw new Error(`the BMP palette has ${count} colours`)
    const start = 14 + size + (masks && size === 40 ? 12 : 0)
    for (let i = 0; i < Math.min(count, 256); i++) {
      const at = start + i * entry
      for (let c = 0; c < 3; c++) palette[i * 3 + c] = bytes[at + 2 - c] ?? 0
    }
  }
  return { width, height, topDown, bits, compression, dataOffset, palette, masks }
}

export function decodeBmp(bytes: Uint8Array, checkSize: (width: number, height: number) => void): RgbImage {
  if (bytes.length < 26) throw new Error('the BMP file is truncated')
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (bytes.length < 14 + Math.min(view.getUint32(14, true), 124)) throw new Error('the BMP file is truncated')
  const header = readHeader(view, bytes)
  const { width, height, bits, compression } = header
  checkSize(width, height)
  const data = new Uint8Array(width * height * 3)
  const row = (y: number): number => (header.topDown ? y : height - 1 - y) * width * 3
  if (compression === BI_RLE8 || compression === BI_RLE4) {
    if (bits !== (compression === BI_RLE8 ? 8 : 4)) throw new Error(`BMP run lengths with ${bits} bits per pixel`)
    decodeRle(bytes, header, data, row)
  } else if (compression === BI_RGB || compression === BI_BITFIELDS) decodeRows(bytes, view, header, data, row)
  else throw new Error(`the BMP compression ${compression} is unknown`)
  return { data, width, height }
}

function decodeRows(bytes: Uint8Array, view: DataView, header: Header, data: Uint8Array, row: (y: number) => number): void {
  const { width, height, bits, palette } = header
  const stride = ((width * bits + 31) >> 5) * 4
  if (header.dataOffset + stride * height > bytes.length) throw new Error('the BMP file is truncated')
  const fields = header.masks ? header.masks.map(field) : undefined
  for (let y = 0; y < height; y++) {
    const from = header.dataOffset + y * stride
    let to = row(y)
    for (let x = 0; x < width; x++, to += 3) {
      if (bits <= 8) {
        const perByte = 8 / bits
        const shift = 8 - bits * ((x % perByte) + 1)
        const index = (bytes[from + Math.floor(x / perByte)]! >> shift) & ((1 << bits) - 1)
        data.set(palette.subarray(index * 3, index * 3 + 3), to)
      } else if (bits === 24 || (bits === 32 && !fields)) {
        const at = from + x * (bits / 8)
        data[to] = bytes[at + 2]!
        data[to + 1] = bytes[at + 1]!
        data[to + 2] = bytes[at]!
      } else if (bits === 16 || bits === 32) {
        const value = bits === 16 ? view.getUint16(from + x * 2, true) : view.getUint32(from + x * 4, true)
        const parts = fields ?? FIELDS_555
        for (let c = 0; c < 3; c++) data[to + c] = scaled(value, parts[c]!)
      } else throw new Error(`BMP with ${bits} bits per pixel is unknown`)
    }
  }
}

interface Field {
  shift: number
  max: number
}

function field(mask: number): Field {
  const shift = mask === 0 ? 0 : Math.clz32(mask & -mask) ^ 31
  return { shift, max: mask >>> shift }
}

const FIELDS_555 = [0x7c00, 0x03e0, 0x001f].map(field)

/** A 5- or 6-bit field to 8 bits as Pillow unpacks BGR;15 and BGR;16: value · 255 / max, cut off. */
function scaled(value: number, { shift, max }: Field): number {
  return max === 0 ? 0 : Math.floor((((value >>> shift) & max) * 255) / max)
}

/** Pillow's RLE: pixels that are skipped are index 0; missing ones at the end are an error only if none came. */
function decodeRle(bytes: Uint8Array, header: Header, data: Uint8Array, row: (y: number) => number): void {
  const { width, height, palette } = header
  const four = header.compression === BI_RLE4
  for (let i = 0; i < data.length; i += 3) data.set(palette.subarray(0, 3), i)
  let [at, x, y] = [header.dataOffset, 0, 0]
  const put = (index: number): void => {
    if (x < width && y < height) data.set(palette.subarray(index * 3, index * 3 + 3), row(y) + x * 3)
    x++
  }
  while (y < height) {
    const count = bytes[at]
    const value = bytes[at + 1]
    if (count === undefined || value === undefined) throw new Error('the BMP file is truncated')
    at += 2
    if (count > 0) {
      for (let i = 0; i < count; i++) put(four ? (i % 2 === 0 ? value >> 4 : value & 15) : value)
    } else if (value === 0) {
      x = 0
      y++
    } else if (value === 1) return
    else if (value === 2) {
      x += bytes[at] ?? 0
      y += bytes[at + 1] ?? 0
      at += 2
    } else {
      const length = four ? Math.ceil(value / 2) : value
      if (at + length > bytes.length) throw new Error('the BMP file is truncated')
      for (let i = 0; i < value; i++) {
        const byte = bytes[at + (four ? i >> 1 : i)]!
        put(four ? (i % 2 === 0 ? byte >> 4 : byte & 15) : byte)
      }
      at += length + (length % 2)
    }
  }
}
