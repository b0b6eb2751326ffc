import type { RgbImage } from '../types.js'

/** The image mirrored left to right. */
export function flipHorizontal({ data, width, height }: RgbImage): RgbImage {
  const out = new Uint8Array(data.length)
  for (let y = 0; y < height; y++) {
    let from = y * width * 3
    let to = from + (width - 1) * 3
    for (let x = 0; x < width; x++, from += 3, to -= 3) {
      out[to] = data[from]!
      out[to + 1] = data[from + 1]!
      out[to + 2] = data[from + 2]!
    }
  }
  return { data: out, width, height }
}
