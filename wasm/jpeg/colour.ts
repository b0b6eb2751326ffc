/**
 * Rows of samples -> rows of RGB: chroma made as wide and as high as luma by libjpeg's triangle filter
 * ("fancy upsampling", jdsample.c), then YCbCr -> RGB (jdcolor.c). Chroma lines hold 16-bit values.
 *
 * Every function works in whole vectors: lines need LINE_SLACK bytes behind their last value.
 */

import { high, low } from './interleave'

export const LINE_SLACK: usize = 128

/** `count` samples, three times the nearer row plus the farther one, with one value repeated at either end. */
export function addRows(near: usize, far: usize, to: usize, count: i32): void {
  const three = i16x8.splat(3)
  for (let i = 0; i < count; i += 8) {
    const a = v128.load8x8_u(near + i)
    const b = v128.load8x8_u(far + i)
    v128.store(to + (i << 1), i16x8.add(i16x8.mul(a, three), b))
  }
  repeatEnds(to, count)
}

/** One row as 16-bit values, with one value repeated at either end. */
export function widenRow(from: usize, to: usize, count: i32): void {
  for (let i = 0; i < count; i += 8) v128.store(to + (i << 1), v128.load8x8_u(from + i))
  repeatEnds(to, count)
}

function repeatEnds(line: usize, count: i32): void {
  store<u16>(line - 2, load<u16>(line))
  store<u16>(line + (count << 1), load<u16>(line + ((count - 1) << 1)))
}

/**
 * `count` values -> twice as many: three quarters of the nearer value and one of the other, less 128.
 * `even`, `odd`: what is added before the shift (libjpeg rounds to the left and to the right in turn).
 */
export function widenLine(from: usize, to: usize, count: i32, even: i32, odd: i32, shift: i32): void {
  const three = i16x8.splat(3)
  const middle = i16x8.splat(128)
  const evenHalf = i16x8.splat(<i16>even)
  const oddHalf = i16x8.splat(<i16>odd)
  for (let i = 0; i < count; i += 8) {
    const at = from + (i << 1)
    const near = i16x8.mul(v128.load(at), three)
    const left = i16x8.shr_u(i16x8.add(i16x8.add(near, v128.load(at - 2)), evenHalf), shift)
    const right = i16x8.shr_u(i16x8.add(i16x8.add(near, v128.load(at + 2)), oddHalf), shift)
    const a = i16x8.sub(left, middle)
    const b = i16x8.sub(right, middle)
    v128.store(to + (i << 2), v128.shuffle<i16>(a, b, 0, 8, 1, 9, 2, 10, 3, 11))
    v128.store(to + (i << 2) + 16, v128.shuffle<i16>(a, b, 4, 12, 5, 13, 6, 14, 7, 15))
  }
}

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

/** Sixteen pixels, channel by channel -> 48 bytes. */
@inline
function storeRgb(to: usize, r: v128, g: v128, b: v128): void {
  // r0 g0 r1 g1 … of each half, then the blue bytes between them.
  const rg0 = v128.shuffle<i8>(r, g, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
  const rg1 = v128.shuffle<i8>(r, g, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
  v128.store(to, v128.shuffle<i8>(rg0, b, 0, 1, 16, 2, 3, 17, 4, 5, 18, 6, 7, 19, 8, 9, 20, 10))
  const middle = v128.shuffle<i8>(rg0, rg1, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 21, 21, 21, 21, 21)
  v128.store(to + 16, v128.shuffle<i8>(middle, b, 0, 21, 1, 2, 22, 3, 4, 23, 5, 6, 24, 7, 8, 25, 9, 10))
  v128.store(to + 32, v128.shuffle<i8>(rg1, b, 26, 6, 7, 27, 8, 9, 28, 10, 11, 29, 12, 13, 30, 14, 15, 31))
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

/** Planes of red, green and blue -> `width` RGB pixels. */
export function writePlanes(red: usize, green: usize, blue: usize, to: usize, width: i32): void {
  for (let x = 0; x < width; x += 16) {
    storeRgb(to, v128.load(red + x), v128.load(green + x), v128.load(blue + x))
    to += 48
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
