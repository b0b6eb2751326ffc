/**
 * A lossless WebP picture (RFC 9649, section 3), some rows after the other: entropy-coded pixels, then the transforms
 * undone. Equal to libwebp on files without damage; of anything else it says that it failed, and the caller asks
 * libwebp itself. src/image/webp reads the container.
 *
 * All coded pixels are kept, since any of them may be copied later.
 */
import { planeOf, takeRow } from '../pixels/halve'
import { bottom, halvings, left, right, top, wantWhole } from '../pixels/part'
import { reserve, resetMemory } from '../pixels/reserve'
import { LINE_SLACK } from '../pixels/rgb'
import { openBits, roomFor } from './bits'
import { openImage, readPixels } from './pixels'
import { writePlanesOf, writeRgb } from './rows'
import { readTransforms, restoreRow } from './transforms'

export { choosePart } from '../pixels/part'

/** Rows of a band. */
const ROWS: i32 = 16

let width: i32 = 0
let height: i32 = 0

let picture: usize = 0
let band: usize = 0
/** Coded pixels, in rows that may be narrower than the image; how many there are, and the next row to be restored. */
let pixels: usize = 0
let codedWidth: i32 = 0
let position: i32 = 0
let nextRow: i32 = 0

/** Lays out the memory of an image. Returns where the picture's bytes behind its five of header go; 0: no memory. */
export function begin(bytes: i32, imageWidth: i32, imageHeight: i32): usize {
  width = imageWidth
  height = imageHeight
  resetMemory()
  picture = reserve(roomFor(bytes))
  band = reserve(<usize>width * 3 * ROWS + LINE_SLACK)
  wantWhole(width, height)
  return band == 0 ? 0 : picture
}

/** Call it when the picture's bytes are there. False: give up. */
export function start(bytes: i32): bool {
  openBits(picture, bytes)
  codedWidth = readTransforms(width, height)
  if (codedWidth == 0 || !openImage(codedWidth, height, true)) return false
  pixels = reserve(<usize>codedWidth * height * 4 + 64)
  position = 0
  nextRow = 0
  return pixels != 0
}

/** Whether all rows are decoded. */
export function isDone(): bool {
  return nextRow == height
}

/** Where the rows of `nextBand` are. */
export function bandAt(): usize {
  return band
}

/** Decodes the next rows. Returns how many rows of RGB they completed (`bandAt`), which may be none; -1: give up. */
export function nextBand(): i32 {
  const end = min(nextRow + ROWS, height)
  position = readPixels(pixels, position, end * codedWidth, height * codedWidth)
  if (position < 0) return -1
  let rows = 0
  for (; nextRow < end; nextRow++) {
    if (nextRow >= bottom) continue
    const row = restoreRow(pixels + <usize>nextRow * codedWidth * 4, nextRow) + (left << 2)
    if (nextRow < top) continue
    const count = right - left
    const to = band + rows * (count >> halvings) * 3
    if (halvings == 0) writeRgb(row, to, count)
    else {
      writePlanesOf(row, planeOf(0), planeOf(1), planeOf(2), count)
      if (!takeRow(to)) continue
    }
    rows++
  }
  return rows
}
