/**
 * Rows of luma and lines of chroma -> rows of RGB, in libwebp's fixed point (src/dsp/yuv.h): each product keeps its
 * higher bits only, and the sum of products has six bits behind the point. Chroma lines hold 16-bit values. Every
 * function works in whole vectors: lines need LINE_SLACK bytes behind their last value.
 */
import { storeRgb } from '../pixels/rgb'

/** (a · factor) >> 8 of values below 256; both products fit into 16 bits, which the whole one does not. */
@inline
function times(a: v128, factor: i32): v128 {
  const whole = i16x8.mul(a, i16x8.splat(<i16>(factor >> 8)))
  return i16x8.add(whole, i16x8.shr_u(i16x8.mul(a, i16x8.splat(<i16>(factor & 255))), 8))
}

@inline
function lumaOf(at: usize): v128 {
  return times(v128.load8x8_u(at), 19077)
}

@inline
function redOf(y: v128, v: v128): v128 {
  return i16x8.shr_s(i16x8.add(i16x8.sub(y, i16x8.splat(14234)), times(v, 26149)), 6)
}

@inline
function greenOf(y: v128, u: v128, v: v128): v128 {
  const sum = i16x8.add(i16x8.splat(8708), y)
  return i16x8.shr_s(i16x8.sub(i16x8.sub(sum, times(u, 6419)), times(v, 13320)), 6)
}

/** The sum is above 32767 for the brightest: it has no sign, and stops at 0. */
@inline
function blueOf(y: v128, u: v128): v128 {
  return i16x8.shr_u(i16x8.sub_sat_u(i16x8.add(y, times(u, 33050)), i16x8.splat(17685)), 6)
}

/** One row of luma and two chroma lines -> `width` RGB pixels, in steps of 16. */
export function writeColourRow(luma: usize, uLine: usize, vLine: usize, to: usize, width: i32): void {
  for (let x = 0; x < width; x += 16) {
    const y0 = lumaOf(luma + x)
    const y1 = lumaOf(luma + x + 8)
    const u0 = v128.load(uLine + (x << 1))
    const u1 = v128.load(uLine + (x << 1) + 16)
    const v0 = v128.load(vLine + (x << 1))
    const v1 = v128.load(vLine + (x << 1) + 16)
    const r = i8x16.narrow_i16x8_u(redOf(y0, v0), redOf(y1, v1))
    const g = i8x16.narrow_i16x8_u(greenOf(y0, u0, v0), greenOf(y1, u1, v1))
    const b = i8x16.narrow_i16x8_u(blueOf(y0, u0), blueOf(y1, u1))
    storeRgb(to, r, g, b)
    to += 48
  }
}

/** The same row as planes of red, green and blue. */
export function writeColourPlanes(
  luma: usize,
  uLine: usize,
  vLine: usize,
  red: usize,
  green: usize,
  blue: usize,
  width: i32,
): void {
  for (let x = 0; x < width; x += 16) {
    const y0 = lumaOf(luma + x)
    const y1 = lumaOf(luma + x + 8)
    const u0 = v128.load(uLine + (x << 1))
    const u1 = v128.load(uLine + (x << 1) + 16)
    const v0 = v128.load(vLine + (x << 1))
    const v1 = v128.load(vLine + (x << 1) + 16)
    v128.store(red + x, i8x16.narrow_i16x8_u(redOf(y0, v0), redOf(y1, v1)))
    v128.store(green + x, i8x16.narrow_i16x8_u(greenOf(y0, u0, v0), greenOf(y1, u1, v1)))
    v128.store(blue + x, i8x16.narrow_i16x8_u(blueOf(y0, u0), blueOf(y1, u1)))
  }
}
