/**
 * The two passes of Pillow's resampling (src/image/resize.ts is the same in TypeScript), 128 bits at a time.
 *
 * A weight w (22 fractional bits) is split into w = high * 65536 + low, both signed 16 bits, so that one
 * instruction multiplies and adds two taps; sums are modulo 2^32, as in C:
 *   sum = 2^21 + Σ pixel * low + ((Σ pixel * high) << 16),  value = clamp(sum >> 22, 0, 255)
 *
 * A table has one entry per output position, one after the other:
 *   i32 start   first input pixel (row) of the window
 *   i32 pairs   taps of the window / 2, rounded up
 *   then per pair of taps  i16 low0, i16 low1, i16 high0, i16 high1   (0 for a tap beyond the window)
 * A tap of weight 0 may lie behind the image: the caller leaves room to read there.
 */

/** Six bytes r0 g0 b0 r1 g1 b1 at `at` as 16 bits: r0 r1 g0 g1 b0 b1 0 0. */
@inline
function pixelPair(at: usize): v128 {
  return v128.swizzle(v128.load_zero<i64>(at), i8x16(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1))
}

@inline
function addTaps(sum: v128, pixels: v128, weights: v128): v128 {
  return i32x4.add(sum, i32x4.dot_i16x8_s(pixels, weights))
}

@inline
function joined(low: v128, high: v128): v128 {
  return i32x4.shr_s(i32x4.add(low, i32x4.shl(high, 16)), 22)
}

/**
 * `rows` rows of RGB pixels (rounded up to a multiple of 4: the caller leaves room for that, too) to rows of
 * `width` pixels. Each pixel is stored with a fourth byte, which the next one overwrites: `dstStride` must be at
 * least width * 3 + 1.
 */
export function horizontal(
  src: usize,
  srcStride: usize,
  dst: usize,
  dstStride: usize,
  rows: i32,
  width: i32,
  table: usize,
): void {
  const half = i32x4.splat(1 << 21)
  const zero = i32x4.splat(0)
  for (; rows > 0; rows -= 4) {
    let t = table
    let d0 = dst
    let d1 = d0 + dstStride
    let d2 = d1 + dstStride
    let d3 = d2 + dstStride
    for (let x = width; x != 0; x--) {
      let s0 = src + <usize>load<i32>(t) * 3
      let s1 = s0 + srcStride
      let s2 = s1 + srcStride
      let s3 = s2 + srcStride
      let pairs = load<i32>(t, 4)
      t += 8
      let low0 = half
      let low1 = half
      let low2 = half
      let low3 = half
      let high0 = zero
      let high1 = zero
      let high2 = zero
      let high3 = zero
      do {
        const low = v128.load_splat<i32>(t)
        const high = v128.load_splat<i32>(t, 4)
        let pixels = pixelPair(s0)
        low0 = addTaps(low0, pixels, low)
        high0 = addTaps(high0, pixels, high)
        pixels = pixelPair(s1)
        low1 = addTaps(low1, pixels, low)
        high1 = addTaps(high1, pixels, high)
        pixels = pixelPair(s2)
        low2 = addTaps(low2, pixels, low)
        high2 = addTaps(high2, pixels, high)
        pixels = pixelPair(s3)
        low3 = addTaps(low3, pixels, low)
        high3 = addTaps(high3, pixels, high)
        s0 += 6
        s1 += 6
        s2 += 6
        s3 += 6
        t += 8
      } while (--pairs)
      const four = i8x16.narrow_i16x8_u(
        i16x8.narrow_i32x4_s(joined(low0, high0), joined(low1, high1)),
        i16x8.narrow_i32x4_s(joined(low2, high2), joined(low3, high3)),
      )
      v128.store_lane<i32>(d0, four, 0)
      v128.store_lane<i32>(d1, four, 1)
      v128.store_lane<i32>(d2, four, 2)
      v128.store_lane<i32>(d3, four, 3)
      d0 += 3
      d1 += 3
      d2 += 3
      d3 += 3
    }
    src += srcStride << 2
    dst += dstStride << 2
  }
}

/** Rows of `stride` bytes (a multiple of 16) to `height` such rows. */
export function vertical(src: usize, stride: usize, dst: usize, height: i32, table: usize): void {
  const half = i32x4.splat(1 << 21)
  const zero = i32x4.splat(0)
  for (; height != 0; height--) {
    let row = src + <usize>load<i32>(table) * stride
    const end = dst + stride
    let t: usize = 0
    do {
      let p = row
      let pairs = load<i32>(table, 4)
      t = table + 8
      let low0 = half
      let low1 = half
      let low2 = half
      let low3 = half
      let high0 = zero
      let high1 = zero
      let high2 = zero
      let high3 = zero
      do {
        const a = v128.load(p)
        p += stride
        const b = v128.load(p)
        p += stride
        const low = v128.load_splat<i32>(t)
        const high = v128.load_splat<i32>(t, 4)
        t += 8
        // Bytes a0 b0 a1 b1 …, then as 16 bits.
        const first = v128.shuffle<i8>(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
        const second = v128.shuffle<i8>(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
        let values = i16x8.extend_low_i8x16_u(first)
        low0 = addTaps(low0, values, low)
        high0 = addTaps(high0, values, high)
        values = i16x8.extend_high_i8x16_u(first)
        low1 = addTaps(low1, values, low)
        high1 = addTaps(high1, values, high)
        values = i16x8.extend_low_i8x16_u(second)
        low2 = addTaps(low2, values, low)
        high2 = addTaps(high2, values, high)
        values = i16x8.extend_high_i8x16_u(second)
        low3 = addTaps(low3, values, low)
        high3 = addTaps(high3, values, high)
      } while (--pairs)
      v128.store(
        dst,
        i8x16.narrow_i16x8_u(
          i16x8.narrow_i32x4_s(joined(low0, high0), joined(low1, high1)),
          i16x8.narrow_i32x4_s(joined(low2, high2), joined(low3, high3)),
        ),
      )
      row += 16
      dst += 16
    } while (dst < end)
    table = t
  }
}
