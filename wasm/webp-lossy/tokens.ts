/**
 * The coefficients of a macroblock (RFC 6386, section 13), multiplied by their quantisers. For every block a code
 * says what its inverse transform has to look at; the codes are those of libwebp, whose transforms differ where
 * numbers are too large for 16 bits.
 */
import { ANYTHING, BLOCK_BYTES, BLOCKS, CODES, FIRST_THREE } from './blocks'
import { boundOf, count, next, range, readBit, setState, shiftOf, topOf, value, zerosOf } from './bools'
import {
  CHROMA,
  CONTEXT_BYTES,
  KIND_BYTES,
  LUMA,
  LUMA_DC,
  LUMA_WITHOUT_DC,
  POSITION_BYTES,
  PROBABILITIES,
  QUANTISER_BYTES,
} from './header'
import { ZIGZAG } from './tables'
import { transformDc } from './transform'

/** Numbers of blocks: luma's DC, luma from 0 on, chroma. */
const DC_BLOCK: i32 = -1
const CHROMA_BEGIN: i32 = 16
const CHROMA_END: i32 = 24

/**
 * Which of the last blocks had coefficients, as bits: four of luma, two of each chroma, luma's DC. By the number of a
 * block, the bit of its column and that of its row.
 */
const DC_BIT: i32 = 256
const BITS_ABOVE: usize = memory.data<u8>([8, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 4, 5, 6, 7, 6, 7])
const BITS_LEFT: usize = memory.data<u8>([8, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7])
const ABOVE_BIT: usize = BITS_ABOVE + 1
const LEFT_BIT: usize = BITS_LEFT + 1
/** Those of the macroblock to the left. */
let leftBits: i32 = 0

/** Call it at the start of a row. */
export function openTokenRow(): void {
  leftBits = 0
}

/** A macroblock without coefficients. `above`: the bits of the macroblock above (u16), which become this one's. */
export function skipTokens(above: usize, hasBlocks: bool): void {
  // Sixteen modes have no block of DC: what is known of the last one stays.
  const kept = hasBlocks ? DC_BIT : 0
  leftBits &= kept
  store<u16>(above, load<u16>(above) & kept)
}

/**
 * Reads a macroblock's coefficients into BLOCKS and CODES. False if there are none. The decoder's state is kept in
 * locals from block to block: this is where most of the time goes.
 */
export function readTokens(above: usize, hasBlocks: bool, quantisers: usize): bool {
  let top: i32 = load<u16>(above)
  let left = leftBits
  let any: i32 = 0
  let v = value
  let n = count
  let size = range
  let at = next
  // Luma's DC, where it has a block, then luma, then chroma.
  let probabilities = PROBABILITIES + LUMA_DC * KIND_BYTES
  let quantiser = quantisers + QUANTISER_BYTES
  let first = 0
  for (let block = hasBlocks ? 0 : DC_BLOCK; block < CHROMA_END; block++) {
    if (block == 0) {
      probabilities = PROBABILITIES + (hasBlocks ? LUMA : LUMA_WITHOUT_DC) * KIND_BYTES
      quantiser = quantisers
      first = i32(!hasBlocks)
    } else if (block == CHROMA_BEGIN) {
      probabilities = PROBABILITIES + CHROMA * KIND_BYTES
      quantiser = quantisers + 2 * QUANTISER_BYTES
      first = 0
    }
    const to = BLOCKS + block * BLOCK_BYTES
    const x = <i32>load<u8>(ABOVE_BIT + block)
    const y = <i32>load<u8>(LEFT_BIT + block)
    const context = ((top >> x) & 1) + ((left >> y) & 1)
    let k = first
    let p = probabilities + k * POSITION_BYTES + context * CONTEXT_BYTES
    while (k < 16) {
      let shift = shiftOf(size)
      v <<= shift
      n -= shift
      // Enough for the six bits of a small token and its sign.
      v |= load<u64>(at) >> n
      at -= (63 - n) >> 3
      n |= 56
      let zeros = zerosOf(size, shift, load<u8>(p))
      if (topOf(v) < zeros) {
        size = zeros
        break
      }
      v -= boundOf(zeros)
      size = (size << shift) - zeros
      // Zeros: none of them is the last coefficient.
      for (;;) {
        shift = shiftOf(size)
        v <<= shift
        n -= shift
        zeros = zerosOf(size, shift, load<u8>(p, 1))
        if (topOf(v) >= zeros) break
        size = zeros
        k++
        if (k == 16) break
        p = probabilities + k * POSITION_BYTES
        v |= load<u64>(at) >> n
        at -= (63 - n) >> 3
        n |= 56
      }
      if (k == 16) break
      v -= boundOf(zeros)
      size = (size << shift) - zeros
      shift = shiftOf(size)
      v <<= shift
      n -= shift
      zeros = zerosOf(size, shift, load<u8>(p, 2))
      let level: i32 = 1
      let following = CONTEXT_BYTES
      if (topOf(v) < zeros) size = zeros
      else {
        following = 2 * CONTEXT_BYTES
        v -= boundOf(zeros)
        size = (size << shift) - zeros
        shift = shiftOf(size)
        v <<= shift
        n -= shift
        zeros = zerosOf(size, shift, load<u8>(p, 3))
        if (topOf(v) < zeros) {
          // Two, or three and four, which the last bit tells.
          shift = shiftOf(zeros)
          v <<= shift
          n -= shift
          size = zeros << shift
          zeros = zerosOf(zeros, shift, load<u8>(p, 4))
          level = 2
          if (topOf(v) < zeros) size = zeros
          else {
            v -= boundOf(zeros)
            size -= zeros
            shift = shiftOf(size)
            v <<= shift
            n -= shift
            zeros = zerosOf(size, shift, load<u8>(p, 5))
            const more: bool = topOf(v) >= zeros
            v -= more ? boundOf(zeros) : 0
            size = more ? (size << shift) - zeros : zeros
            level = 3 + i32(more)
          }
        } else {
          setState(v - boundOf(zeros), n, (size << shift) - zeros, at)
          level = readLargeLevel(p)
          v = value
          n = count
          size = range
          at = next
        }
      }
      // The sign: one bit, as likely as not, without a branch that nobody can predict.
      shift = shiftOf(size)
      v <<= shift
      n -= shift
      size <<= shift
      zeros = (size + 1) >> 1
      const negative = -i32(topOf(v) >= zeros)
      v -= boundOf(zeros & negative)
      size = (size + 1 + negative) >> 1
      store<i16>(
        to + load<u8>(ZIGZAG + k),
        <i16>(((level ^ negative) - negative) * <i32>load<u16>(quantiser + (k << 1))),
      )
      k++
      p = probabilities + k * POSITION_BYTES + following
    }
    const bit = i32(k > first)
    top = (top & ~(1 << x)) | (bit << x)
    left = (left & ~(1 << y)) | (bit << y)
    if (block >= 0) any |= setCode(block, k, to)
    else if (k > 0) transformDc(to, BLOCKS, k > 1)
  }
  setState(v, n, size, at)
  leftBits = left
  store<u16>(above, <u16>top)
  return any != 0
}

/** What the inverse transform has to look at, of a block whose coefficients end before position `end`. */
@inline
function setCode(block: i32, end: i32, at: usize): i32 {
  const code = end > 3 ? ANYTHING : end > 1 ? FIRST_THREE : i32(load<i16>(at) != 0)
  store<u8>(CODES + block, <u8>code)
  return code
}

/** Probabilities of the extra bits of the four largest categories, each ended by 0. */
const EXTRA_BITS: usize = memory.data<u8>([
  173, 148, 140, 0, 0, 0, 0, 0, 0, 0, 0, 0,
  176, 155, 140, 135, 0, 0, 0, 0, 0, 0, 0, 0,
  180, 157, 141, 134, 130, 0, 0, 0, 0, 0, 0, 0,
  254, 254, 243, 230, 196, 177, 153, 140, 133, 130, 129, 0,
])

/** A level of five or more. */
function readLargeLevel(p: usize): i32 {
  if (!readBit(load<u8>(p, 6))) {
    if (!readBit(load<u8>(p, 7))) return 5 + readBit(159)
    const high = readBit(165)
    return 7 + 2 * high + readBit(145)
  }
  const high = readBit(load<u8>(p, 8))
  const category = 2 * high + readBit(load<u8>(p + high, 9))
  let extra: i32 = 0
  for (let at = EXTRA_BITS + category * 12; load<u8>(at); at++) extra = 2 * extra + readBit(load<u8>(at))
  return extra + 3 + (8 << category)
}
