/**
 * BMP as Pillow reads it (src/PIL/BmpImagePlugin.py): 1, 4, 8, 16, 24 and 32 bits per pixel, bottom-up or
 * top-down, RLE4 and RLE8, and the bit-field layouts that Pillow knows. Alpha is dropped. Where Pillow
 * departs from the format (a palette of greys is ignored, odd RLE4 runs lose a pixel, the last row needs no
 * padding), so does this: the pixels must be the same.
 */
import { RejectError, type RgbImage } from '../types.js'

const [BI_RGB, BI_RLE8, BI_RLE4, BI_BITFIELDS] = [0, 1, 2, 3]

interface Header {
  width: number
  height: number
  topDown: boolean
  bits: number
  compression: number
  /** Red, green, blue and alpha masks of a bit-field file. */
  masks: [number, number, number, number] | undefined
  /** Colours of the palette and bytes of each. */
  colours: number
  entry: 3 | 4
  /** Where the palette starts, if there is one: behind the header and its masks. */
  paletteAt: number
  /** Where the pixels start; 0 if they follow the palette. */
  dataAt: number
}

/** Sound or not, Pillow does not read it. */
const unsupported = (what: string): RejectError =>
  new RejectError('unsupported_format', 'decode', `BMP with ${what} is not read`)

/** Decodes a BMP file. Throws RejectError `unsupported_format` for kinds that Pillow does not read, an Error for damage. */
export function decodeBmp(bytes: Uint8Array, checkSize: (width: number, height: number) => void): RgbImage {
  const header = readHeader(bytes)
  const { width, height, bits, compression, masks } = header
  checkSize(width, height)
  if (compression > BI_BITFIELDS) throw unsupported(`compression ${compression}`)
  if (bits <= 8) {
    if (masks) throw unsupported('bit fields and a palette')
    return decodeIndexed(bytes, header)
  }
  if (compression === BI_RLE8 || compression === BI_RLE4) throw unsupported(`run lengths and ${bits} bits per pixel`)
  const data = new Uint8Array(width * height * 3)
  const dataAt = header.dataAt || header.paletteAt
  const stride = rowStride(width, bits)
  checkLength(bytes, dataAt, stride, height, (width * bits) / 8)
  const rowTo = (y: number): number => (header.topDown ? y : height - 1 - y) * width * 3
  if (bits === 16) {
    const green = pixelLayout16(masks)
    for (let y = 0; y < height; y++) unpack16(bytes, dataAt + y * stride, data, rowTo(y), width, green)
  } else {
    const [r, g, b] = byteOrder(bits, masks)
    const step = bits / 8
    for (let y = 0; y < height; y++) {
      let from = dataAt + y * stride
      let to = rowTo(y)
      for (let x = 0; x < width; x++, from += step, to += 3) {
        data[to] = bytes[from + r]!
        data[to + 1] = bytes[from + g]!
        data[to + 2] = bytes[from + b]!
      }
    }
  }
  return { data, width, height }
}

function readHeader(bytes: Uint8Array): Header {
  if (bytes.length < 18) throw new Error('the BMP file is truncated')
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let dataAt = view.getUint32(10, true)
  const size = view.getUint32(14, true)
  if (size !== 12 && ![40, 52, 56, 64, 108, 124].includes(size)) throw unsupported(`a header of ${size} bytes`)
  let paletteAt = 14 + size
  if (bytes.length < paletteAt) throw new Error('the BMP file is truncated')
  const header: Header = {
    width: 0,
    height: 0,
    topDown: false,
    bits: 0,
    compression: BI_RGB,
    masks: undefined,
    colours: 0,
    entry: 3,
    paletteAt,
    dataAt,
  }
  if (size === 12) {
    header.width = view.getUint16(18, true)
    header.height = view.getUint16(20, true)
    header.bits = view.getUint16(24, true)
  } else {
    header.width = view.getUint32(18, true)
    header.height = view.getUint32(22, true)
    header.topDown = bytes[25] === 0xff // a small negative height
    if (header.topDown) header.height = 2 ** 32 - header.height
    header.bits = view.getUint16(28, true)
    header.compression = view.getUint32(30, true)
    header.colours = view.getUint32(46, true)
    header.entry = 4
    if (header.compression === BI_BITFIELDS) {
      if (bytes.length < 66) throw new Error('the BMP file is truncated')
      // Older headers have the masks behind them, newer ones inside: the same place.
      const mask = (i: number): number => view.getUint32(54 + i * 4, true)
      header.masks = [mask(0), mask(1), mask(2), size >= 56 ? mask(3) : 0]
      if (size === 40) paletteAt += 12
    }
  }
  if (![1, 4, 8, 16, 24, 32].includes(header.bits)) throw unsupported(`${header.bits} bits per pixel`)
  if (header.colours === 0) header.colours = header.bits <= 8 ? 1 << header.bits : 0
  // Some writers leave the palette out of the offset.
  if (dataAt === 14 + size && header.bits <= 8) dataAt += 4 * header.colours
  return { ...header, paletteAt, dataAt }
}

const rowStride = (width: number, bits: number): number => Math.floor((width * bits + 31) / 32) * 4

/** The last row needs no padding. */
function checkLength(bytes: Uint8Array, start: number, stride: number, height: number, rowBytes: number): void {
  if (start + stride * (height - 1) + rowBytes > bytes.length) throw new Error('the BMP file is truncated')
}

const sameMasks = (masks: readonly number[], known: readonly number[]): boolean =>
  known.every((mask, i) => mask === masks[i])

/** Offsets of red, green and blue within a pixel of 24 or 32 bits. */
function byteOrder(bits: number, masks: Header['masks']): [number, number, number] {
  if (!masks || (bits === 24 && sameMasks(masks, [0xff0000, 0xff00, 0xff]))) return [2, 1, 0]
  if (bits === 32) {
    const found = ORDERS_32.find(([known]) => sameMasks(masks, known))
    if (found) return found[1]
  }
  throw unsupported('such bit fields')
}

const ORDERS_32: [masks: number[], order: [number, number, number]][] = [
  [
    [0xff0000, 0xff00, 0xff, 0],
    [2, 1, 0],
  ],
  [
    [0xff000000, 0xff0000, 0xff00, 0],
    [3, 2, 1],
  ],
  [
    [0xff000000, 0xff00, 0xff, 0],
    [3, 1, 0],
  ],
  [
    [0xff000000, 0xff0000, 0xff00, 0xff],
    [3, 2, 1],
  ],
  [
    [0xff, 0xff00, 0xff0000, 0xff000000],
    [0, 1, 2],
  ],
  [
    [0xff0000, 0xff00, 0xff, 0xff000000],
    [2, 1, 0],
  ],
  [
    [0xff000000, 0xff00, 0xff, 0xff0000],
    [3, 1, 0],
  ],
  [
    [0, 0, 0, 0],
    [2, 1, 0],
  ],
]

/** Bits of green in a pixel of 16 bits: 5 or 6. */
function pixelLayout16(masks: Header['masks']): 5 | 6 {
  if (!masks || sameMasks(masks, [0x7c00, 0x3e0, 0x1f])) return 5
  if (sameMasks(masks, [0xf800, 0x7e0, 0x1f])) return 6
  throw unsupported('such bit fields')
}

/** Fields of 5 or 6 bits become value · 255 / max, cut off. */
function unpack16(
  bytes: Uint8Array,
  from: number,
  data: Uint8Array,
  to: number,
  width: number,
  greenBits: 5 | 6,
): void {
  const greenMax = (1 << greenBits) - 1
  for (let x = 0; x < width; x++, from += 2, to += 3) {
    const value = bytes[from]! | (bytes[from + 1]! << 8)
    data[to] = (((value >> (5 + greenBits)) & 31) * 255) / 31
    data[to + 1] = (((value >> 5) & greenMax) * 255) / greenMax
    data[to + 2] = ((value & 31) * 255) / 31
  }
}

/** Files of 1, 4 or 8 bits. */
function decodeIndexed(bytes: Uint8Array, header: Header): RgbImage {
  const { width, height, bits, compression, colours, entry, paletteAt } = header
  if (colours > 65536) throw unsupported(`a palette of ${colours} colours`)
  const stored = bytes.subarray(paletteAt, paletteAt + entry * colours)
  const gray = isGrayRamp(stored, colours, entry)
  if (!gray && stored.length > entry * 256) throw unsupported(`a palette of ${colours} colours`)
  const dataAt = header.dataAt || paletteAt + stored.length
  // Pillow drops a palette of greys and then reads 1 or 8 bits per pixel, whatever the header says.
  const readBits = gray ? (colours === 2 ? 1 : 8) : bits
  const palette = new Uint8Array(768)
  for (let i = 0; i < 256; i++) {
    for (let c = 0; c < 3; c++)
      palette[i * 3 + c] = gray ? (readBits === 1 ? i * 255 : i) : (stored[i * entry + 2 - c] ?? 0)
  }
  const rle = compression === BI_RLE8 || compression === BI_RLE4
  if (rle && readBits === 1 && gray) throw unsupported('run lengths and a black and white palette')
  const indices = rle
    ? decodeRle(bytes, dataAt, width, height, compression === BI_RLE4)
    : unpackIndices(bytes, dataAt, rowStride(width, bits), width, height, readBits)
  const data = new Uint8Array(width * height * 3)
  for (let y = 0, from = 0; y < height; y++) {
    let to = (header.topDown ? y : height - 1 - y) * width * 3
    for (let x = 0; x < width; x++, to += 3) {
      const colour = indices[from++]! * 3
      data[to] = palette[colour]!
      data[to + 1] = palette[colour + 1]!
      data[to + 2] = palette[colour + 2]!
    }
  }
  return { data, width, height }
}

/** Whether entry i is the grey i, or the two entries are black and white. */
function isGrayRamp(stored: Uint8Array, colours: number, entry: number): boolean {
  for (let i = 0; i < colours; i++) {
    const value = colours === 2 ? i * 255 : i & 255
    for (let c = 0; c < 3; c++) if (stored[i * entry + c] !== value) return false
  }
  return true
}

function unpackIndices(
  bytes: Uint8Array,
  start: number,
  stride: number,
  width: number,
  height: number,
  bits: number,
): Uint8Array {
  const rowBytes = Math.ceil((width * bits) / 8)
  if (rowBytes > stride) throw new Error('the BMP palette does not fit its bits per pixel')
  checkLength(bytes, start, stride, height, rowBytes)
  const out = new Uint8Array(width * height)
  const mask = (1 << bits) - 1
  for (let y = 0, to = 0; y < height; y++) {
    const row = start + y * stride
    for (let x = 0; x < width; x++) {
      const bit = x * bits
      out[to++] = (bytes[row + (bit >> 3)]! >> (8 - bits - (bit & 7))) & mask
    }
  }
  return out
}

/** Run lengths → indices [height, width], in file order. A file that ends before its last pixel is an error. */
function decodeRle(bytes: Uint8Array, start: number, width: number, height: number, four: boolean): Uint8Array {
  const total = width * height
  const out = new Uint8Array(total)
  const truncated = (): Error => new Error('the BMP file ends before its last pixel')
  let [at, x, done] = [start, 0, 0]
  while (done < total) {
    const count = bytes[at++]
    const value = bytes[at++]
    if (count === undefined || value === undefined) throw truncated()
    if (count > 0) {
      const length = Math.max(0, Math.min(count, width - x))
      const end = Math.min(total, done + length)
      for (let i = 0; done + i < end; i++) out[done + i] = four ? (i % 2 === 0 ? value >> 4 : value & 15) : value
      done += length
      x += length
    } else if (value === 0) {
      done = Math.ceil(done / width) * width
      x = 0
    } else if (value === 1) throw truncated()
    else if (value === 2) {
      const right = bytes[at]
      const up = bytes[at + 1]
      if (right === undefined || up === undefined) throw truncated()
      at += 2
      done += right + up * width
      x = done % width
    } else {
      const length = four ? value >> 1 : value
      for (let i = 0; i < length; i++) {
        const byte = bytes[at + i]
        if (byte === undefined) {
          if (done >= total) break
          throw truncated()
        }
        // Writes beyond the end are dropped.
        if (four) out[done++] = byte >> 4
        out[done++] = four ? byte & 15 : byte
      }
      at += length
      at += at % 2 // runs end at even places in the file
      x += value
    }
  }
  return out
}
