/** Channels -> interleaved RGB, sixteen pixels at a time: lines need LINE_SLACK bytes behind their last value. */

export const LINE_SLACK: usize = 128

/** Sixteen pixels, channel by channel -> 48 bytes. */
@inline
export function storeRgb(to: usize, r: v128, g: v128, b: v128): void {
  // r0 g0 r1 g1 … of each half, then the blue bytes between them.
  const rg0 = v128.shuffle<i8>(r, g, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
  const rg1 = v128.shuffle<i8>(r, g, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
  v128.store(to, v128.shuffle<i8>(rg0, b, 0, 1, 16, 2, 3, 17, 4, 5, 18, 6, 7, 19, 8, 9, 20, 10))
  const middle = v128.shuffle<i8>(rg0, rg1, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 21, 21, 21, 21, 21)
  v128.store(to + 16, v128.shuffle<i8>(middle, b, 0, 21, 1, 2, 22, 3, 4, 23, 5, 6, 24, 7, 8, 25, 9, 10))
  v128.store(to + 32, v128.shuffle<i8>(rg1, b, 26, 6, 7, 27, 8, 9, 28, 10, 11, 29, 12, 13, 30, 14, 15, 31))
}

/** Planes of red, green and blue -> `width` RGB pixels. */
export function writePlanes(red: usize, green: usize, blue: usize, to: usize, width: i32): void {
  for (let x = 0; x < width; x += 16) {
    storeRgb(to, v128.load(red + x), v128.load(green + x), v128.load(blue + x))
    to += 48
  }
}
