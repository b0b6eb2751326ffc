/**
 * A baseline JPEG of one or three components, one row of MCUs after the other: Huffman codes, inverse
 * transform, upsampling, RGB. Equal to libjpeg-turbo bit for bit on files without damage; of anything else
 * it says that it failed, and the caller asks libjpeg-turbo itself. src/image/jpeg reads the headers.
 */
import { planeOf, takeRow } from '../pixels/halve'
import { bottom, halvings, left, right, top, wantWhole } from '../pixels/part'
import { reserve, resetMemory } from '../pixels/reserve'
import { LINE_SLACK } from '../pixels/rgb'
import { addRows, widenLine, widenRow } from '../pixels/upsample'
import { isOverrun, isSegmentUsedUp, markerOffset, openScan, openSegment, roomFor, skipRestart } from './bits'
import { centreRow, writeColourPlanes, writeColourRow, writeGreyRow } from './colour'
import { lastCoefficient, readBlock, tableAt } from './huffman'
import { clearBlock, transformBlock } from './idct'
import { COMPONENTS, HUFFMAN, QUANT } from './memory'

export { choosePart } from '../pixels/part'
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

/** MCUs and rows of them whose samples are made: those of the part and one more on every side, whose chroma is mixed in. */
let firstMcu: i32 = 0
let endMcu: i32 = 0
let firstMcuRow: i32 = 0
let endMcuRow: i32 = 0

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
  wantWhole(width, height)
  return band == 0 ? 0 : scan
}

/** Call it when the scan's bytes and the tables are there. False: give up. */
export function start(scanBytes: i32): bool {
  openScan(scan, scanBytes, room)
  firstMcu = max(0, left / (8 * across) - 1)
  endMcu = min(mcusPerRow, (right - 1) / (8 * across) + 2)
  firstMcuRow = max(0, top / (8 * down) - 1)
  endMcuRow = min(mcuRows, (bottom - 1) / (8 * down) + 2)
  restartsSeen = 0
  untilRestart = restartInterval
  prediction.fill(0)
  clearBlock()
  return openSegment()
}

/** Whether all rows of MCUs are decoded. */
export function isDone(): bool {
  return mcuRow == mcuRows
}

/** Decodes the next row of MCUs. Returns how many rows of RGB it completed (`bandAt`), which may be none; -1: give up. */
export function nextBand(): i32 {
  const isWanted = mcuRow >= firstMcuRow && mcuRow < endMcuRow
  for (let c = 0; c < components; c++) {
    const bytes = stride[c]
    memory.copy(plane[c], plane[c] + bytes * 8 * downOf(c), bytes)
  }
  for (let x = 0; x < mcusPerRow; x++) {
    if (restartInterval > 0) {
      if (untilRestart == 0 && !restart()) return -1
      untilRestart--
    }
    const isSeen = isWanted && x >= firstMcu && x < endMcu
    for (let c = 0; c < components; c++) if (!readMcu(c, x, isSeen)) return -1
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
  const rowBytes = ((right - left) >> halvings) * 3
  let rows = 0
  for (let y = max(first, top); y < min(end, bottom); y++) {
    if (writeRow(y - begun, y, band + rows * rowBytes)) rows++
  }
  return rows
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

/** The blocks of one component in MCU `x` of this row; their samples are made where they are seen. */
function readMcu(c: i32, x: i32, isSeen: bool): bool {
  const bytes = stride[c]
  const h = acrossOf(c)
  const v = downOf(c)
  const quant = QUANT + c * 128
  for (let j = 0; j < v; j++) {
    let to = plane[c] + bytes * (1 + 8 * j) + x * 8 * h
    for (let i = 0; i < h; i++) {
      prediction[c] += readBlock(dcTable[c], acTable[c], prediction[c])
      if (lastCoefficient < 0) return false
      if (isSeen) transformBlock(quant, to, bytes, lastCoefficient)
      clearBlock()
      to += 8
    }
  }
  return true
}

/** RGB of row `y` of the image, row `local` of this MCU row (-1: the one above). False: it waits to be halved. */
function writeRow(local: i32, y: i32, to: usize): bool {
  const luma = plane[0] + stride[0] * (local + 1) + left
  const count = right - left
  if (components == 3) {
    chromaLine(1, y, cbLine)
    chromaLine(2, y, crLine)
  }
  const cb = cbLine + (left << 1)
  const cr = crLine + (left << 1)
  if (halvings == 0) {
    if (components == 1) writeGreyRow(luma, to, count)
    else writeColourRow(luma, cb, cr, to, count)
    return true
  }
  if (components == 1) for (let c = 0; c < 3; c++) memory.copy(planeOf(c), luma, count)
  else writeColourPlanes(luma, cb, cr, planeOf(0), planeOf(1), planeOf(2), count)
  return takeRow(to)
}

/** The line of chroma for row `y`, as wide as luma, where its samples were made. */
function chromaLine(c: i32, y: i32, to: usize): void {
  const first = firstMcu * 8
  const zero = plane[c] + stride[c] * (1 - (mcuRow - 1) * 8) + first // where row 0 of the whole plane would be
  // At an edge of the image the last value is repeated. At an edge of what was made that is wrong, but nobody looks.
  const count = min(endMcu * 8, (width + across - 1) / across) - first
  const line = to + (first << 1) * across
  if (across == 1) {
    centreRow(zero + y * stride[c], line, count)
  } else if (down == 1) {
    widenRow(zero + y * stride[c], sums, count)
    widenLine(sums, line, count, 1, 2, 2, 128)
  } else {
    const near = y >> 1
    const far = y & 1 ? min(near + 1, ((height + 1) >> 1) - 1) : max(near - 1, 0)
    addRows(zero + near * stride[c], zero + far * stride[c], 8, sums, count)
    widenLine(sums, line, count, 8, 7, 4, 128)
  }
}
