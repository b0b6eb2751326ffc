/**
 * Rows of luma and lines of chroma -> rows of RGB: YCbCr -> RGB of libjpeg (jdcolor.c). Chroma lines hold 16-bit
 * values, less 128. Every function works in whole vectors: lines need LINE_SLACK bytes behind their last value.
 */
import { high, low } from '../pixels/interleave'
import { storeRgb } from '../pixels/rgb'

/** Chroma that is as wide as luma already: less 128. */
export function centreRow(from: usize, to: usize, count: i32): void {
  const middle = i16x8.splat(128)
  for (let i = 0; i < count; i += 8) v128.store(to + (i << 1), i16x8.sub(v128.load8x8_u(from + i), middle))
}

/** (a · first + b · second + 32768) >> 16 of interleaved 16-bit values. */
@inline
function weigh(a: v128, b: v128, weights: v128, half: v128): v128 {
  return i16x8.narrow_i32x4_s(
    i32x4.shr_s(i32x4.add(i32x4.dot_i16x8_s(low(a, b), weights), half), 16),
    i32x4.shr_s(i32x4.add(i32x4.dot_i16x8_s(high(a, b), weights), half), 16),
  )
}

// Fixed point with 16 bits: 1.402 = 1 + 26345, 1.772 = 2 - 14942, 0.34414 = 22554, 0.71414 = 1 - 18734 (over 65536).
@inline
function redOf(y: v128, cr: v128): v128 {
  const product = weigh(cr, i64x2(0, 0), i16x8(26345, 0, 26345, 0, 26345, 0, 26345, 0), i32x4.splat(32768))
  return i16x8.add(y, i16x8.add(cr, product))
}

@inline
function greenOf(y: v128, cb: v128, cr: v128): v128 {
  const product = weigh(cb, cr, i16x8(-22554, 18734, -22554, 18734, -22554, 18734, -22554, 18734), i32x4.splat(32768))
  return i16x8.sub(i16x8.add(y, product), cr)
}

@inline
function blueOf(y: v128, cb: v128): v128 {
  const product = weigh(cb, i64x2(0, 0), i16x8(-14942, 0, -14942, 0, -14942, 0, -14942, 0), i32x4.splat(32768))
  return i16x8.add(y, i16x8.add(i16x8.shl(cb, 1), product))
}

/** One row of luma and two chroma lines -> `width` RGB pixels, in steps of 16. */
export function writeColourRow(luma: usize, cbLine: usize, crLine: usize, to: usize, width: i32): void {
  for (let x = 0; x < width; x += 16) {
    const y0 = v128.load8x8_u(luma + x)
    const y1 = v128.load8x8_u(luma + x + 8)
    const cb0 = v128.load(cbLine + (x << 1))
    const cb1 = v128.load(cbLine + (x << 1) + 16)
    const cr0 = v128.load(crLine + (x << 1))
    const cr1 = v128.load(crLine + (x << 1) + 16)
    const r = i8x16.narrow_i16x8_u(redOf(y0, cr0), redOf(y1, cr1))
    const g = i8x16.narrow_i16x8_u(greenOf(y0, cb0, cr0), greenOf(y1, cb1, cr1))
    const b = i8x16.narrow_i16x8_u(blueOf(y0, cb0), blueOf(y1, cb1))
    storeRgb(to, r, g, b)
    to += 48
  }
}

/** The same row as planes of red, green and blue. */
export function writeColourPlanes(
  luma: usize,
  cbLine: usize,
  crLine: usize,
  red: usize,
  green: usize,
  blue: usize,
  width: i32,
): void {
  for (let x = 0; x < width; x += 16) {
    const y0 = v128.load8x8_u(luma + x)
    const y1 = v128.load8x8_u(luma + x + 8)
    const cb0 = v128.load(cbLine + (x << 1))
    const cb1 = v128.load(cbLine + (x << 1) + 16)
    const cr0 = v128.load(crLine + (x << 1))
    const cr1 = v128.load(crLine + (x << 1) + 16)
    v128.store(red + x, i8x16.narrow_i16x8_u(redOf(y0, cr0), redOf(y1, cr1)))
    v128.store(green + x, i8x16.narrow_i16x8_u(greenOf(y0, cb0, cr0), greenOf(y1, cb1, cr1)))
    v128.store(blue + x, i8x16.narrow_i16x8_u(blueOf(y0, cb0), blueOf(y1, cb1)))
  }
}

/** One row of grey -> `width` RGB pixels. */
export function writeGreyRow(luma: usize, to: usize, width: i32): void {
  for (let x = 0; x < width; x += 16) {
    const y = v128.load(luma + x)
    storeRgb(to, y, y, y)
    to += 48
  }
}
