/** Pixels, blue in the lowest byte and alpha in the highest -> RGB. Up to sixteen bytes are read and written behind. */

/** Four pixels -> twelve bytes, then four of no meaning. */
@inline
function rgbOf(pixels: v128): v128 {
  return v128.shuffle<i8>(pixels, pixels, 2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, 3, 3, 3, 3)
}

export function writeRgb(row: usize, to: usize, width: i32): void {
  // What is written too much is written again by the next four, or lies behind the row.
  for (let x = 0; x < width; x += 4, row += 16, to += 12) v128.store(to, rgbOf(v128.load(row)))
}

export function writePlanesOf(row: usize, red: usize, green: usize, blue: usize, width: i32): void {
  for (let x = 0; x < width; x += 4, row += 16) {
    const pixels = v128.load(row)
    const planes = v128.shuffle<i8>(pixels, pixels, 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)
    v128.store32_lane(blue + x, planes, 0)
    v128.store32_lane(green + x, planes, 1)
    v128.store32_lane(red + x, planes, 2)
  }
}
