/**
 * Turns and mirrors an image as an orientation of 1 to 8 asks for (EXIF 2.3, tag 274); other values leave it as
 * it is. Pillow does this for TIFF only.
 */
import type { RgbImage } from '../types.js'

export function applyOrientation(image: RgbImage, orientation: number): RgbImage {
  if (!(orientation >= 2 && orientation <= 8)) return image
  const { data, width, height } = image
  const turned = orientation >= 5
  // Where the first pixel of the result comes from, and the steps in the source per column and row of the result.
  const fromRight = [2, 3, 7, 8].includes(orientation)
  const fromBottom = [3, 4, 6, 7].includes(orientation)
  const alongX = fromRight ? -1 : 1
  const alongY = fromBottom ? -width : width
  const start = (fromRight ? width - 1 : 0) + (fromBottom ? (height - 1) * width : 0)
  const [perColumn, perRow] = turned ? [alongY, alongX] : [alongX, alongY]
  const [outWidth, outHeight] = turned ? [height, width] : [width, height]
  const out = new Uint8Array(data.length)
  for (let y = 0, to = 0; y < outHeight; y++) {
    let from = (start + y * perRow) * 3
    for (let x = 0; x < outWidth; x++, to += 3, from += perColumn * 3) {
      out[to] = data[from]!
      out[to + 1] = data[from + 1]!
      out[to + 2] = data[from + 2]!
    }
  }
  return { data: out, width: outWidth, height: outHeight }
}
