/** Squares of 4×4 bytes in one vector, row by row. */

@inline
export function load4x4(at: usize, stride: usize): v128 {
  let pixels = v128.load32_zero(at)
  pixels = v128.load32_lane(at + stride, pixels, 1)
  pixels = v128.load32_lane(at + 2 * stride, pixels, 2)
  return v128.load32_lane(at + 3 * stride, pixels, 3)
}

@inline
export function store4x4(at: usize, stride: usize, pixels: v128): void {
  v128.store32_lane(at, pixels, 0)
  v128.store32_lane(at + stride, pixels, 1)
  v128.store32_lane(at + 2 * stride, pixels, 2)
  v128.store32_lane(at + 3 * stride, pixels, 3)
}

/** Rows of 4×4 bytes -> columns, and back. */
@inline
export function turn(pixels: v128): v128 {
  return v128.shuffle<i8>(pixels, pixels, 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)
}
