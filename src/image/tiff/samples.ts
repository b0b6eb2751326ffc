/**
 * Rows of TIFF samples → RGB as Pillow's unpackers and convert('RGB') give it (src/libImaging/Unpack.c,
 * Convert.c): grey of few bits is scaled, grey of many bits is clipped at 0 and 255, other 16-bit samples keep
 * their high byte, associated alpha is divided out in 8 bits, alpha is dropped.
 */
import { cmykPixel } from '../cmyk.js'
import { Tag, type TiffDirectory } from './directory.js'
import type { Layout } from './layout.js'

/** Writes `width` pixels of a row of samples at `to` in `out`. */
export type RowConverter = (row: Uint8Array, width: number, out: Uint8Array, to: number) => void

export function rowConverter(layout: Layout, tags: TiffDirectory): RowConverter {
  const { pixels, littleEndian, samples } = layout
  switch (pixels.kind) {
    case 'grey': {
      const highest = (1 << pixels.bits) - 1
      const shades = Uint8Array.from({ length: highest + 1 }, (_, i) => {
        const shade = (i * 255) / highest
        return pixels.inverted ? 255 - shade : shade
      })
      return looksUp(pixels.bits, samples, (value) => [shades[value]!, shades[value]!, shades[value]!])
    }
    case 'palette': {
      const colours = readPalette(tags.numbers(Tag.colourMap))
      return looksUp(pixels.bits, samples, (value) => colours.subarray(value * 3, value * 3 + 3))
    }
    case 'clipped':
      return clipped(pixels.type, littleEndian, layout.compression !== 1)
    case 'rgb':
      return colour(pixels.bits, littleEndian, pixels.associatedAlpha ? dividedByAlpha : plainRgb, samples)
    case 'cmyk':
      return colour(pixels.bits, littleEndian, cmykPixel, samples)
    case 'ycc':
      throw new Error('YCbCr has no rows of pixels')
  }
}

/** Colours are 16 bits wide, all reds first; Pillow keeps the high bytes. Missing ones are greys. */
function readPalette(map: number[]): Uint8Array {
  const out = Uint8Array.from({ length: 768 }, (_, i) => Math.floor(i / 3))
  const count = Math.floor(map.length / 3)
  for (let i = 0; i < Math.min(count, 256); i++) {
    for (let c = 0; c < 3; c++) out[i * 3 + c] = map[c * count + i]! >> 8
  }
  return out
}

function looksUp(bits: number, samples: number, rgb: (value: number) => ArrayLike<number>): RowConverter {
  const table = new Uint8Array(3 << bits)
  for (let i = 0; i < 1 << bits; i++) table.set(rgb(i), i * 3)
  const mask = (1 << bits) - 1
  const step = bits * samples
  return (row, width, out, to) => {
    for (let x = 0, bit = 0; x < width; x++, bit += step, to += 3) {
      const from = ((row[bit >> 3]! >> (8 - bits - (bit & 7))) & mask) * 3
      out[to] = table[from]!
      out[to + 1] = table[from + 1]!
      out[to + 2] = table[from + 2]!
    }
  }
}

/**
 * Big-endian signed and floating-point samples that were compressed: libtiff has turned their bytes, and Pillow
 * turns them again. That is what the reference trains on, so it is kept.
 */
function clipped(type: string, isLittle: boolean, compressed: boolean): RowConverter {
  const littleEndian = isLittle || (compressed && type !== 'uint16')
  const sampleAt = (view: DataView, x: number): number => {
    if (type === 'uint16') return view.getUint16(2 * x, littleEndian)
    if (type === 'int16') return view.getInt16(2 * x, littleEndian)
    if (type === 'int32') return view.getInt32(4 * x, littleEndian)
    if (type === 'float32') return view.getFloat32(4 * x, littleEndian)
    const at = (x >> 1) * 3
    return x % 2 === 0
      ? (view.getUint8(at) << 4) | (view.getUint8(at + 1) >> 4)
      : ((view.getUint8(at + 1) & 15) << 8) | view.getUint8(at + 2)
  }
  return (row, width, out, to) => {
    const view = new DataView(row.buffer, row.byteOffset, row.byteLength)
    for (let x = 0; x < width; x++, to += 3) {
      const value = sampleAt(view, x)
      out[to] = out[to + 1] = out[to + 2] = value >= 255 ? 255 : value > 0 ? Math.trunc(value) : 0
    }
  }
}

type WritePixel = (samples: Uint8Array, from: number, out: Uint8Array, to: number) => void

const plainRgb: WritePixel = (samples, from, out, to) => {
  out[to] = samples[from]!
  out[to + 1] = samples[from + 1]!
  out[to + 2] = samples[from + 2]!
}

const dividedByAlpha: WritePixel = (samples, from, out, to) => {
  const alpha = samples[from + 3]!
  for (let c = 0; c < 3; c++) {
    const value = samples[from + c]!
    out[to + c] = alpha === 255 ? value : alpha === 0 ? 0 : Math.min(255, Math.trunc((value * 255) / alpha))
  }
}

function colour(bits: number, littleEndian: boolean, write: WritePixel, samples: number): RowConverter {
  return (row, width, out, to) => {
    const bytes = bits === 16 ? highBytes(row, littleEndian) : row
    for (let x = 0, from = 0; x < width; x++, from += samples, to += 3) write(bytes, from, out, to)
  }
}

/** The high bytes of 16-bit samples. */
export function highBytes(row: Uint8Array, littleEndian: boolean): Uint8Array {
  const out = new Uint8Array(row.length >> 1)
  for (let i = 0, from = littleEndian ? 1 : 0; i < out.length; i++, from += 2) out[i] = row[from]!
  return out
}
