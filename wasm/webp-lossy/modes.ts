/** How the macroblocks of a row are predicted (RFC 6386, sections 8 and 11) and whether they have coefficients. */
import { boundOf, count, isOverrun, next, range, readBit, setState, shiftOf, topOf, value, zerosOf } from './bools'
import { codedProbability, hasSegmentMap, hasSkips, SEGMENT_PROBABILITIES } from './header'
import { DC, HORIZONTAL, MODE_PROBABILITIES, MODE_TREE, TRUE_MOTION, VERTICAL } from './tables'

/** Per macroblock: 16 modes of blocks, or the one of the whole first; then what the constants below say. */
export const MODES_BYTES: i32 = 20
export const CHROMA_MODE: i32 = 16
export const HAS_BLOCKS: i32 = 17
export const SEGMENT: i32 = 18
export const IS_SKIPPED: i32 = 19

/** Modes of the four blocks at the right edge of the last macroblock. */
const LEFT: usize = memory.data(4)

/**
 * Reads a row of `count` macroblocks. `above`: modes of the blocks at the bottom edge of the row above, 4 each. False
 * if the partition ends before.
 */
export function readModes(to: usize, above: usize, count: i32): bool {
  store<u32>(LEFT, 0)
  for (let i = 0; i < count; i++, to += MODES_BYTES, above += 4) {
    store<u8>(to, hasSegmentMap ? readSegment() : 0, SEGMENT)
    store<u8>(to, hasSkips ? readBit(codedProbability) : 0, IS_SKIPPED)
    const hasBlocks = !readBit(145)
    store<u8>(to, hasBlocks, HAS_BLOCKS)
    if (hasBlocks) readBlockModes(to, above)
    else {
      const mode = readLumaMode()
      store<u8>(to, <u8>mode)
      store<u32>(above, mode * 0x01010101)
      store<u32>(LEFT, mode * 0x01010101)
    }
    store<u8>(to, <u8>readChromaMode(), CHROMA_MODE)
    if (isOverrun()) return false
  }
  return true
}

function readSegment(): u32 {
  return readBit(load<u8>(SEGMENT_PROBABILITIES))
    ? readBit(load<u8>(SEGMENT_PROBABILITIES, 2)) + 2
    : readBit(load<u8>(SEGMENT_PROBABILITIES, 1))
}

function readLumaMode(): i32 {
  if (readBit(156)) return readBit(128) ? TRUE_MOTION : HORIZONTAL
  return readBit(163) ? VERTICAL : DC
}

function readChromaMode(): i32 {
  if (!readBit(142)) return DC
  if (!readBit(114)) return VERTICAL
  return readBit(183) ? TRUE_MOTION : HORIZONTAL
}

function readBlockModes(to: usize, above: usize): void {
  let v = value
  let n = count
  let size = range
  let at = next
  for (let y = 0; y < 4; y++, to += 4) {
    let mode: i32 = load<u8>(LEFT + y)
    for (let x = 0; x < 4; x++) {
      const p = MODE_PROBABILITIES + (<i32>load<u8>(above + x) * 10 + mode) * 9
      let node: i32 = 0
      do {
        const shift = shiftOf(size)
        v <<= shift
        n -= shift
        if (n < 16) {
          v |= load<u64>(at) >> n
          at -= (63 - n) >> 3
          n |= 56
        }
        const zeros = zerosOf(size, shift, load<u8>(p + node))
            if (topOf(v) < zeros) {
          size = zeros
          node = load<u8>(MODE_TREE + (node << 1))
        } else {
          v -= boundOf(zeros)
          size = (size << shift) - zeros
          node = load<u8>(MODE_TREE + (node << 1), 1)
        }
      } while (node < 128)
      mode = node - 128
      store<u8>(above + x, <u8>mode)
    }
    store<u32>(to, load<u32>(above))
    store<u8>(LEFT + y, <u8>mode)
  }
  setState(v, n, size, at)
}
