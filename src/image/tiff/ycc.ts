/**
 * YCbCr segments → RGB as libtiff's TIFFRGBAImage does it: chroma is repeated, not filtered; the conversion is
 * in fixed point with 16 fractional bits, its constants from the tags YCbCrCoefficients and ReferenceBlackWhite.
 * Reference: TIFF 6.0, section 21; tests compare with Pillow.
 */
import { Tag, type TiffDirectory } from './directory.js'
import { unsupported } from './layout.js'

export interface YccTables {
  /** Pixels per chroma sample. */
  across: number
  down: number
  luma: Int32Array
  redOfCr: Int32Array
  blueOfCb: Int32Array
  /** In fixed point. */
  greenOfCr: Int32Array
  greenOfCb: Int32Array
}

const BITS = 16
const HALF = 1 << (BITS - 1)
const fixed = (value: number): number => Math.trunc(value * (1 << BITS) + 0.5)
const clamp = (value: number, low: number, high: number): number => Math.max(low, Math.min(high, value))

/** Throws RejectError `unsupported_format` for samplings that libtiff does not know. */
export function yccTables(tags: TiffDirectory): YccTables {
  const [across = 2, down = 2] = tags.numbers(Tag.yccSubsampling)
  if (![0x11, 0x12, 0x21, 0x22, 0x41, 0x42, 0x44].includes(across * 16 + down)) {
    throw unsupported(`YCbCr with chroma sampling ${across}×${down}`)
  }
  const coefficients = tags.numbers(Tag.yccCoefficients)
  const [red, green, blue] = (coefficients.length === 3 ? coefficients : [0.299, 0.587, 0.114]).map(Math.fround) as [
    number,
    number,
    number,
  ]
  const reference = tags.numbers(Tag.referenceBlackWhite)
  const [y0, y1, cb0, cb1, cr0, cr1] = (reference.length === 6 ? reference : [0, 255, 128, 255, 128, 255]).map(
    Math.fround,
  ) as [number, number, number, number, number, number]
  const f = Math.fround
  const toRed = f(2 - f(2 * red))
  const toBlue = f(2 - f(2 * blue))
  const d1 = fixed(clamp(toRed, 0, 2))
  const d2 = -fixed(clamp(f(f(red * toRed) / green), 0, 2))
  const d3 = fixed(clamp(toBlue, 0, 2))
  const d4 = -fixed(clamp(f(f(blue * toBlue) / green), 0, 2))
  const tables: YccTables = {
    across,
    down,
    luma: new Int32Array(256),
    redOfCr: new Int32Array(256),
    blueOfCb: new Int32Array(256),
    greenOfCr: new Int32Array(256),
    greenOfCb: new Int32Array(256),
  }
  /** A code as a value between black (0) and white (`range`). */
  const value = (code: number, black: number, white: number, range: number): number => {
    const span = f(white - black)
    const wide = f(f(f(code - Math.trunc(black)) * range) / (span === 0 ? 1 : span))
    return Math.trunc(clamp(wide, -4096, 4096))
  }
  for (let i = 0; i < 256; i++) {
    const cr = value(i - 128, f(cr0 - 128), f(cr1 - 128), 127)
    const cb = value(i - 128, f(cb0 - 128), f(cb1 - 128), 127)
    tables.luma[i] = value(i, y0, y1, 255)
    tables.redOfCr[i] = (d1 * cr + HALF) >> BITS
    tables.blueOfCb[i] = (d3 * cb + HALF) >> BITS
    tables.greenOfCr[i] = d2 * cr
    tables.greenOfCb[i] = d4 * cb + HALF
  }
  return tables
}

/** Bytes of a row of blocks `width` pixels wide; a block has its luma samples, then Cb, then Cr. */
export const yccBlockRowBytes = (width: number, { across, down }: YccTables): number =>
  Math.ceil(width / across) * (across * down + 2)

/** Blocks of one segment → rows of RGB in `out`. `blocksAcross` may reach beyond `width`. */
export function yccToRgb(
  segment: Uint8Array,
  blocksAcross: number,
  width: number,
  height: number,
  tables: YccTables,
  write: (x: number, y: number, r: number, g: number, b: number) => void,
): void {
  const { across, down, luma, redOfCr, blueOfCb, greenOfCr, greenOfCb } = tables
  const blockBytes = across * down + 2
  for (let y = 0; y < height; y++) {
    const rowAt = Math.floor(y / down) * blocksAcross * blockBytes
    for (let x = 0; x < width; x++) {
      const at = rowAt + Math.floor(x / across) * blockBytes
      const light = luma[segment[at + (y % down) * across + (x % across)]!]!
      const cb = segment[at + blockBytes - 2]!
      const cr = segment[at + blockBytes - 1]!
      const green = light + ((greenOfCb[cb]! + greenOfCr[cr]!) >> BITS)
      write(x, y, clamp(light + redOfCr[cr]!, 0, 255), clamp(green, 0, 255), clamp(light + blueOfCb[cb]!, 0, 255))
    }
  }
}
