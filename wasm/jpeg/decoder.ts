/**
 * A baseline JPEG of one or three components, one row of MCUs after the other: Huffman codes, inverse
 * transform, upsampling, RGB. Equal to libjpeg-turbo bit for bit on files without damage; of anything else
 * it says that it failed, and the caller asks libjpeg-turbo itself. src/image/jpeg reads the headers.
 */
import {
  isOverrun,
  isSegmentUsedUp,
  markerOffset,
  openScan,
  openSegment,
  roomFor,
  skipRestart,
} from './bits'
import { addRows, centreRow, LINE_SLACK, widenLine, widenRow, writeColourRow, writeGreyRow } from './colour'
import { lastCoefficient, readBlock, tableAt } from './huffman'
import { clearBlock, transformBlock } from './idct'
import { COMPONENTS, HUFFMAN, QUANT, reserve, resetMemory } from './memory'

export { buildTable } from './huffman'
export const huffmanAt: usize = HUFFMAN
export const quantAt: usize = QUANT

let width: i32 = 0
let height: i32 = 0
let components: i32 = 0
/** Luma samples per chroma sample, across and down. */
let across: i32 = 1
let down: i32 = 1
let mcusPerRow: i32 = 0
let mcuRows: i32 = 0
let mcuRow: i32 = 0
let restartInterval: i32 = 0
let restartsSeen: i32 = 0
let untilRestart: i32 = 0

/** Per component: DC table, AC table, prediction, and its plane: one row of context, then one row of MCUs. */
const dcTable = new StaticArray<usize>(COMPONENTS)
const acTable = new StaticArray<usize>(COMPONENTS)
const prediction = new StaticArray<i32>(COMPONENTS)
const plane = new StaticArray<usize>(COMPONENTS)
const stride = new StaticArray<i32>(COMPONENTS)
let scan: usize = 0
let room: usize = 0
let cbLine: usize = 0
let crLine: usize = 0
let sums: usize = 0
let band: usize = 0

/** Blocks of a component in an MCU, across and down. */
function acrossOf(component: i32): i32 {
  return component == 0 ? across : 1
}
function downOf(component: i32): i32 {
  return component == 0 ? down : 1
}

/** Says which Huffman tables a component uses. */
export function setTables(component: i32, dc: i32, ac: i32): void {
  dcTable[component] = tableAt(dc)
  acTable[component] = tableAt(4 + ac)
}

/** Lays out the memory of an image. Returns where the scan's bytes go; 0 if there is not enough memory. */
export function begin(
  scanBytes: i32,
  imageWidth: i32,
  imageHeight: i32,
  count: i32,
  acrossRatio: i32,
  downRatio: i32,
  interval: i32,
): usize {
  width = imageWidth
  height = imageHeight
  components = count
  across = acrossRatio
  down = downRatio
  restartInterval = interval
  mcusPerRow = (width + 8 * across - 1) / (8 * across)
  mcuRows = (height + 8 * down - 1) / (8 * down)
  mcuRow = 0
  resetMemory()
  scan = reserve(<usize>scanBytes + 16)
  room = reserve(roomFor(scanBytes))
  for (let c = 0; c < components; c++) {
    stride[c] = mcusPerRow * 8 * acrossOf(c)
    plane[c] = reserve(<usize>stride[c] * (8 * downOf(c) + 1) + LINE_SLACK)
  }
  const line: usize = <usize>mcusPerRow * 16 * across + 2 * LINE_SLACK
  cbLine = reserve(line)
  crLine = reserve(line)
  sums = reserve(line) + 16
  band = reserve(<usize>width * 3 * (8 * down + 1) + LINE_SLACK)
  return band == 0 ? 0 : scan
}

/** Call it when the scan's bytes and the tables are there. False: give up. */
export function start(scanBytes: i32): bool {
  openScan(scan, scanBytes, room)
  restartsSeen = 0
  untilRestart = restartInterval
  prediction.fill(0)
  clearBlock()
  return openSegment()
}

/** Decodes the next row of MCUs. Returns how many rows of RGB it completed (`bandAt`); -1: give up. */
export function nextBand(): i32 {
  if (mcuRow == mcuRows) return 0
  for (let c = 0; c < components; c++) {
    const bytes = stride[c]
    memory.copy(plane[c], plane[c] + bytes * 8 * downOf(c), bytes)
  }
  for (let x = 0; x < mcusPerRow; x++) {
    if (restartInterval > 0) {
      if (untilRestart == 0 && !restart()) return -1
      untilRestart--
    }
    for (let c = 0; c < components; c++) if (!readMcu(c, x)) return -1
    if (isOverrun()) return -1
  }
  mcuRow++
  const isLast = mcuRow == mcuRows
  if (isLast && !isSegmentUsedUp()) return -1
  // A row at the lower edge of its MCU waits for the chroma below it.
  const late = down - 1
  const begun = (mcuRow - 1) * 8 * down
  const first = mcuRow == 1 ? 0 : begun - late
  const end = isLast ? height : begun + 8 * down - late
  for (let y = first; y < end; y++) writeRow(y - begun, y, band + (y - first) * width * 3)
  return end - first
}

/** Where the rows of the last band are. */
export function bandAt(): usize {
  return band
}

/** Offset in the scan of the marker behind it. */
export function scanEnd(): i32 {
  return markerOffset()
}

function restart(): bool {
  if (!isSegmentUsedUp() || !skipRestart(restartsSeen++)) return false
  prediction.fill(0)
  untilRestart = restartInterval
  return openSegment()
}

/** The blocks of one component in MCU `x` of this row. */
function readMcu(c: i32, x: i32): bool {
  const bytes = stride[c]
  const h = acrossOf(c)
  const v = downOf(c)
  const quant = QUANT + c * 128
  for (let j = 0; j < v; j++) {
    let to = plane[c] + bytes * (1 + 8 * j) + x * 8 * h
    for (let i = 0; i < h; i++) {
      prediction[c] += readBlock(dcTable[c], acTable[c], prediction[c])
      if (lastCoefficient < 0) return false
      transformBlock(quant, to, bytes, lastCoefficient)
      clearBlock()
      to += 8
    }
  }
  return true
}

/** RGB of row `y` of the image, row `local` of this MCU row (-1: the one above). */
function writeRow(local: i32, y: i32, to: usize): void {
  const luma = plane[0] + stride[0] * (local + 1)
  if (components == 1) return writeGreyRow(luma, to, width)
  chromaLine(1, y, cbLine)
  chromaLine(2, y, crLine)
  writeColourRow(luma, cbLine, crLine, to, width)
}

/** The line of chroma for row `y`, as wide as luma. */
function chromaLine(c: i32, y: i32, to: usize): void {
  const zero = plane[c] + stride[c] * (1 - (mcuRow - 1) * 8) // where row 0 of the whole plane would be
  const count = (width + across - 1) / across
  if (across == 1) {
    centreRow(zero + y * stride[c], to, count)
  } else if (down == 1) {
    widenRow(zero + y * stride[c], sums, count)
    widenLine(sums, to, count, 1, 2, 2)
  } else {
    const near = y >> 1
    const far = y & 1 ? min(near + 1, ((height + 1) >> 1) - 1) : max(near - 1, 0)
    addRows(zero + near * stride[c], zero + far * stride[c], sums, count)
    widenLine(sums, to, count, 8, 7, 4)
  }
}
