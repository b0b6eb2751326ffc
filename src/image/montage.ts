/** Several images in one picture. */
import type { RgbImage } from '../types.js'

const GAP = 8
const BACKGROUND = 255

/** Images in a grid with `columns` columns on white, `gap` pixels apart; each cell is as large as the largest image. */
export function grid(images: RgbImage[], columns: number, gap = GAP): RgbImage {
  const cellWidth = Math.max(...images.map((image) => image.width))
  const cellHeight = Math.max(...images.map((image) => image.height))
  const rows = Math.ceil(images.length / columns)
  const width = columns * cellWidth + (columns - 1) * gap
  const height = rows * cellHeight + (rows - 1) * gap
  const data = new Uint8Array(width * height * 3).fill(BACKGROUND)
  images.forEach((image, i) => {
    const left = (i % columns) * (cellWidth + gap)
    const top = Math.floor(i / columns) * (cellHeight + gap)
    for (let y = 0; y < image.height; y++) {
      data.set(image.data.subarray(y * image.width * 3, (y + 1) * image.width * 3), ((top + y) * width + left) * 3)
    }
  })
  return { data, width, height }
}

/** Images in one row. */
export function sideBySide(images: RgbImage[]): RgbImage {
  return grid(images, images.length)
}
