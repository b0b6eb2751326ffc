/**
 * A lossy WebP picture: a VP8 key frame (RFC 6386), one row of macroblocks after the other. Equal to libwebp bit for
 * bit on files without damage; of anything else it says that it failed, and the caller asks libwebp itself.
 * src/image/webp reads the container.
 *
 * Prediction looks at pixels before the loop filter, so that a row is filtered once the one below it is there. The
 * filter changes three lines of the row above: colours follow another half a row later.
 */
import { planeOf, takeRow } from '../pixels/halve'
import { bottom, halvings, left, right, top, wantWhole } from '../pixels/part'
import { reserve, resetMemory } from '../pixels/reserve'
import { LINE_SLACK } from '../pixels/rgb'
import { addRows, widenLine } from '../pixels/upsample'
import { clearBlocks } from './blocks'
import { closePartition, isOverrun, openFrame, openPartition, roomFor, usePartition } from './bools'
import { writeColourPlanes, writeColourRow } from './colour'
import { filterNormally, filterSimply } from './filter'
import { filterKind, INNER_EDGES, quantisersOf, readFrameHeader, readFrameTables, strengthFor } from './header'
import { CHROMA_MODE, HAS_BLOCKS, IS_SKIPPED, MODES_BYTES, readModes, SEGMENT } from './modes'
import { addChromaResidual, addLumaResidual, predictBlocks, predictChroma, predictLuma } from './predict'
import { openTokenRow, readTokens, skipTokens } from './tokens'

export { choosePart } from '../pixels/part'

/** What lies to the left of a plane's rows, and to their right. */
const MARGIN: i32 = 16
/** Lines that planes hold of the last row but one (those that may change or are waited for), the last and this one. */
const LUMA_KEPT: i32 = 8
const LUMA_ROW: i32 = 16
const CHROMA_ROW: i32 = 8

let width: i32 = 0
let height: i32 = 0
let mbsPerRow: i32 = 0
let mbRows: i32 = 0
let mbRow: i32 = 0
let partitions: i32 = 0

/** The next row of pixels to be written. */
let nextRow: i32 = 0

let frame: usize = 0
let room: usize = 0
let stride: usize = 0
/** Where the first pixels of this row of macroblocks lie. */
let luma: usize = 0
let chroma: usize = 0
let lumaPlane: usize = 0
let chromaPlane: usize = 0
/** Per macroblock of a row: modes, modes of the blocks above, bits of the coefficients above, strengths of two rows. */
let modes: usize = 0
let modesAbove: usize = 0
let bitsAbove: usize = 0
let strengths: usize = 0
let lastStrengths: usize = 0
let uLine: usize = 0
let vLine: usize = 0
let sums: usize = 0
let band: usize = 0

/** Lays out the memory of an image. Returns where the frame's bytes behind its ten of tags go; 0: not enough memory. */
export function begin(frameBytes: i32, imageWidth: i32, imageHeight: i32): usize {
  width = imageWidth
  height = imageHeight
  mbsPerRow = (width + 15) >> 4
  mbRows = (height + 15) >> 4
  mbRow = 0
  resetMemory()
  frame = reserve(<usize>frameBytes + 16)
  room = reserve(roomFor(frameBytes))
  stride = mbsPerRow * 16 + 2 * MARGIN
  const lumaLines: usize = LUMA_KEPT + 2 * LUMA_ROW
  const chromaLines: usize = 3 * CHROMA_ROW
  lumaPlane = reserve(stride * lumaLines + LINE_SLACK)
  chromaPlane = reserve(stride * chromaLines + LINE_SLACK)
  luma = lumaPlane + stride * (LUMA_KEPT + LUMA_ROW) + MARGIN
  chroma = chromaPlane + stride * 2 * CHROMA_ROW + MARGIN
  modes = reserve(mbsPerRow * MODES_BYTES)
  modesAbove = reserve(mbsPerRow * 4)
  bitsAbove = reserve(mbsPerRow * 2)
  strengths = reserve(mbsPerRow * 4)
  lastStrengths = reserve(mbsPerRow * 4)
  const line: usize = <usize>stride * 2 + 2 * LINE_SLACK
  uLine = reserve(line)
  vLine = reserve(line)
  sums = reserve(line) + 16
  band = reserve(<usize>width * 3 * lumaLines + LINE_SLACK)
  if (band == 0) return 0
  memory.fill(lumaPlane, 129, stride * lumaLines)
  memory.fill(chromaPlane, 129, stride * chromaLines)
  memory.fill(luma - stride - MARGIN, 127, stride)
  memory.fill(chroma - stride - MARGIN, 127, stride)
  memory.fill(modesAbove, 0, mbsPerRow * 4)
  memory.fill(bitsAbove, 0, mbsPerRow * 2)
  wantWhole(width, height)
  return frame
}

/** Call it when the frame's bytes are there. `modeBytes`: length of its first partition. False: give up. */
export function start(frameBytes: i32, modeBytes: i32): bool {
  openFrame(frame, frameBytes, room)
  nextRow = top
  clearBlocks()
  if (!openPartition(0, 0, modeBytes)) return false
  usePartition(0)
  partitions = readFrameHeader()
  if (partitions == 0 || !readFrameTables()) return false
  closePartition(0)
  let from = modeBytes + 3 * (partitions - 1)
  for (let i = 0; i < partitions; i++) {
    const at = frame + modeBytes + 3 * i
    let bytes = frameBytes - from
    if (i < partitions - 1) bytes = min(bytes, load<u16>(at) | (<i32>load<u8>(at, 2) << 16))
    if (!openPartition(i + 1, from, bytes)) return false
    from += bytes
  }
  return from == frameBytes
}

/** Whether all rows of macroblocks are decoded. */
export function isDone(): bool {
  return mbRow == mbRows
}

/** Decodes the next row of macroblocks. Returns how many rows of RGB it completed (`bandAt`), or none; -1: give up. */
export function nextBand(): i32 {
  usePartition(0)
  if (!readModes(modes, modesAbove, mbsPerRow)) return -1
  closePartition(0)
  const partition = 1 + (mbRow & (partitions - 1))
  usePartition(partition)
  if (!readRow()) return -1
  closePartition(partition)
  const lastLuma = luma - stride * LUMA_ROW
  const lastChroma = chroma - stride * CHROMA_ROW
  if (mbRow > 0 && isNeeded(mbRow - 1)) filterRow(mbRow - 1, lastStrengths, lastLuma, lastChroma)
  let end = mbRow * 16 - LUMA_KEPT
  if (mbRow == mbRows - 1) {
    if (isNeeded(mbRow)) filterRow(mbRow, strengths, luma, chroma)
    end = height
  }
  const rows = writeRows(min(end, bottom))
  memory.copy(lumaPlane, lumaPlane + stride * LUMA_ROW, stride * (LUMA_KEPT + LUMA_ROW))
  memory.copy(chromaPlane, chromaPlane + stride * CHROMA_ROW, stride * 2 * CHROMA_ROW)
  const swapped = lastStrengths
  lastStrengths = strengths
  strengths = swapped
  mbRow++
  return rows
}

/** Whether pixels of the part depend on a row of macroblocks. */
@inline
function isNeeded(row: i32): bool {
  return row * 16 - LUMA_KEPT < bottom
}

/** Where the rows of `nextBand` are. */
export function bandAt(): usize {
  return band
}

/** Reads the coefficients of a row and makes its pixels, before the loop filter. False: give up. */
function readRow(): bool {
  const isSeen = isNeeded(mbRow)
  openTokenRow()
  for (let x = 0; x < mbsPerRow; x++) {
    const mode = modes + x * MODES_BYTES
    const hasBlocks = load<u8>(mode, HAS_BLOCKS) != 0
    const segment = <i32>load<u8>(mode, SEGMENT)
    const bits = bitsAbove + (x << 1)
    let hasResidual = false
    if (load<u8>(mode, IS_SKIPPED)) skipTokens(bits, hasBlocks)
    else hasResidual = readTokens(bits, hasBlocks, quantisersOf(segment))
    if (isOverrun()) return false
    let strength = strengthFor(segment, hasBlocks)
    if (hasResidual) strength |= INNER_EDGES
    store<u32>(strengths + (x << 2), strength)
    if (isSeen) makePixels(x, mode, hasBlocks, hasResidual)
    else if (hasResidual) clearBlocks()
  }
  // The last macroblock of the next row has no other pixels to its upper right.
  const corner = luma + stride * (LUMA_ROW - 1) + mbsPerRow * 16
  store<u32>(corner, <u32>load<u8>(corner - 1) * 0x01010101)
  return true
}

function makePixels(x: i32, mode: usize, hasBlocks: bool, hasResidual: bool): void {
  const lumaAt = luma + x * 16
  const chromaAt = chroma + x * 16
  const hasAbove = mbRow > 0
  if (hasBlocks) predictBlocks(mode, lumaAt, stride, hasResidual)
  else {
    predictLuma(load<u8>(mode), lumaAt, stride, hasAbove, x > 0)
    if (hasResidual) addLumaResidual(lumaAt, stride)
  }
  predictChroma(load<u8>(mode, CHROMA_MODE), chromaAt, stride, hasAbove, x > 0)
  if (hasResidual) addChromaResidual(chromaAt, stride)
}

function filterRow(row: i32, strength: usize, lumaAt: usize, chromaAt: usize): void {
  if (filterKind == 0) return
  // The left edge of a macroblock changes pixels of the one before it.
  const count = min(mbsPerRow, ((right + 15) >> 4) + 1)
  for (let x = 0; x < count; x++, lumaAt += 16, chromaAt += 16) {
    const value = load<u32>(strength + (x << 2))
    if (filterKind == 1) filterSimply(value, lumaAt, stride, row > 0, x > 0)
    else filterNormally(value, lumaAt, chromaAt, stride, row > 0, x > 0)
  }
}

/** Writes the rows before `end`. Returns how many have come out. */
function writeRows(end: i32): i32 {
  let rows = 0
  for (; nextRow < end; nextRow++) {
    if (writeRow(nextRow, band + rows * ((right - left) >> halvings) * 3)) rows++
  }
  return rows
}

/** RGB of row `y`. False: it waits to be halved. */
function writeRow(y: i32, to: usize): bool {
  const line = luma + <usize>(y - mbRow * 16) * stride + left
  const count = right - left
  chromaLine(0, y, uLine)
  chromaLine(8, y, vLine)
  const u = uLine + (left << 1)
  const v = vLine + (left << 1)
  if (halvings == 0) {
    writeColourRow(line, u, v, to, count)
    return true
  }
  writeColourPlanes(line, u, v, planeOf(0), planeOf(1), planeOf(2), count)
  return takeRow(to)
}

/** The line of one chroma for row `y`, as wide as luma, where the part needs it. `offset`: 0, or 8 for the second. */
function chromaLine(offset: usize, y: i32, to: usize): void {
  const near = y >> 1
  const far = y & 1 ? min(near + 1, ((height + 1) >> 1) - 1) : max(near - 1, 0)
  // From one macroblock before the part to one behind it, whose ends nobody looks at.
  const first = max(0, (left >> 4) - 1)
  const count = min(((right >> 4) + 2) * 8, (width + 1) >> 1) - first * 8
  const zero = chroma + offset + first * 16 - <usize>(mbRow * CHROMA_ROW) * stride
  addRows(zero + <usize>near * stride, zero + <usize>far * stride, 16, sums, count)
  widenLine(sums, to + first * 32, count, 8, 8, 4, 0)
}
