/**
 * The transforms that a lossless picture went through (RFC 9649, section 4), undone row by row in the opposite order.
 * Pixels are numbers with blue in the lowest byte, then green, red and alpha.
 */
import { reserve } from '../pixels/reserve'
import { readBits } from './bits'
import { readSmallImage, squaresIn } from './pixels'
import { predictRow } from './predict'

/** Kinds; 0 is the predictor. */
const COLOUR: i32 = 1
const SUBTRACT_GREEN: i32 = 2
const PALETTE: i32 = 3

/**
 * In the order of the file: kind, width of the rows that come out, and where the kind has them, size of squares or
 * pixels per byte (log2), and parameters by square or palette.
 */
const kinds = new StaticArray<i32>(4)
const widths = new StaticArray<i32>(4)
const sizes = new StaticArray<i32>(4)
const data = new StaticArray<usize>(4)
let transforms: i32 = 0

/** Two rows in turn for each transform, with room before and behind; the predictor looks at the last one. */
const rows = new StaticArray<usize>(8)
const ROOM: usize = 64

/** Width of the rows that the entropy-coded pixels make; 0 where `readTransforms` gave up. */
export function readTransforms(width: i32, height: i32): i32 {
  let current = width
  let seen = 0
  transforms = 0
  while (readBits(1)) {
    const kind = <i32>readBits(2)
    if (seen & (1 << kind)) return 0
    seen |= 1 << kind
    const i = transforms++
    kinds[i] = kind
    widths[i] = current
    for (let j = 0; j < 2; j++) {
      const row = reserve(<usize>current * 4 + 2 * ROOM)
      if (row == 0) return 0
      rows[2 * i + j] = row + ROOM
    }
    if (kind == SUBTRACT_GREEN) continue
    if (kind == PALETTE) {
      const colours = 1 + <i32>readBits(8)
      const log2 = colours > 16 ? 0 : colours > 4 ? 1 : colours > 2 ? 2 : 3
      const palette = readPalette(colours)
      if (palette == 0) return 0
      sizes[i] = log2
      data[i] = palette
      current = squaresIn(current, log2)
    } else {
      const log2 = 2 + <i32>readBits(3)
      const image = readSmallImage(squaresIn(current, log2), squaresIn(height, log2))
      if (image == 0) return 0
      sizes[i] = log2
      data[i] = image
    }
  }
  return current
}

/** 256 colours, of which those that are not in the file are 0. */
function readPalette(colours: i32): usize {
  const differences = readSmallImage(colours, 1)
  const palette = reserve(1024)
  if (differences == 0 || palette == 0) return 0
  memory.fill(palette, 0, 1024)
  let colour = i64x2(0, 0)
  for (let i = 0; i < colours << 2; i += 4) {
    colour = i8x16.add(colour, v128.load32_zero(differences + i))
    v128.store32_lane(palette + i, colour, 0)
  }
  return palette
}

/** Row `y` as it was entropy-coded -> where its pixels are. */
export function restoreRow(coded: usize, y: i32): usize {
  let from = coded
  for (let i = transforms - 1; i >= 0; i--) {
    const width = widths[i]
    const to = rows[2 * i + (y & 1)]
    const kind = kinds[i]
    if (kind == SUBTRACT_GREEN) addGreen(from, to, width)
    else if (kind == PALETTE) lookUp(from, to, width, sizes[i], data[i])
    else {
      const squares = data[i] + <usize>((y >> sizes[i]) * squaresIn(width, sizes[i])) * 4
      if (kind == COLOUR) addColours(from, to, width, sizes[i], squares)
      else predictRow(from, to, rows[2 * i + 1 - (y & 1)], width, y, sizes[i], squares)
    }
    from = to
  }
  return from
}

function addGreen(from: usize, to: usize, width: i32): void {
  const green = i8x16(1, -1, 1, -1, 5, -1, 5, -1, 9, -1, 9, -1, 13, -1, 13, -1)
  for (let i = 0; i < width << 2; i += 16) {
    const pixels = v128.load(from + i)
    v128.store(to + i, i8x16.add(pixels, v128.swizzle(pixels, green)))
  }
}

function lookUp(from: usize, to: usize, width: i32, log2: i32, palette: usize): void {
  const step = 8 >> log2
  const mask = (1 << step) - 1
  for (let x = 0; x < width; x++) {
    const packed = <i32>load<u8>(from + (<usize>(x >> log2) << 2), 1)
    const index = (packed >> ((x & ((1 << log2) - 1)) * step)) & mask
    store<u32>(to + (x << 2), load<u32>(palette + (index << 2)))
  }
}

/** One byte of each pixel with its sign, as 32-bit values. */
@inline
function signedByte(pixels: v128, byte: i32): v128 {
  return i32x4.shr_s(i32x4.shl(pixels, 24 - 8 * byte), 24)
}

/** What green or red adds to another channel. */
@inline
function partOf(channel: v128, factor: v128): v128 {
  return i32x4.shr_s(i32x4.mul(channel, factor), 5)
}

function addColours(from: usize, to: usize, width: i32, log2: i32, squares: usize): void {
  const low = i32x4.splat(255)
  for (let x = 0; x < width; x += 1 << log2, squares += 4) {
    const factors = v128.load32_splat(squares)
    const greenToRed = signedByte(factors, 0)
    const greenToBlue = signedByte(factors, 1)
    const redToBlue = signedByte(factors, 2)
    const end = min(x + (1 << log2), width)
    // Squares have four pixels or more across.
    for (let i = x; i < end; i += 4) {
      const pixels = v128.load(from + (i << 2))
      const green = signedByte(pixels, 1)
      const red = v128.and(i32x4.add(i32x4.shr_u(pixels, 16), partOf(green, greenToRed)), low)
      const signedRed = signedByte(red, 0)
      const blue = i32x4.add(i32x4.add(pixels, partOf(green, greenToBlue)), partOf(signedRed, redToBlue))
      const kept = v128.and(pixels, i32x4.splat(0xff00ff00))
      v128.store(to + (i << 2), v128.or(v128.or(kept, i32x4.shl(red, 16)), v128.and(blue, low)))
    }
  }
}
