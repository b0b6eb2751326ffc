/**
 * The coefficients of a macroblock (RFC 6386, section 13), multiplied by their quantisers. For every block a code
 * says what its inverse transform has to look at; the codes are those of libwebp, whose transforms differ where
 * numbers are too large for 16 bits.
 */
import { ANYTHING, BLOCK_BYTES, BLOCKS, CODES, DC_BLOCK, FIRST_THREE } from './blocks'
import { count, next, range, readBit, setState, value } from './bools'
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

/** Which of the last blocks had coefficients, as bits: four of luma, two of each chroma, luma's DC. */
const DC_BIT: i32 = 256
/** That of the macroblock to the left. */
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

/** Reads a macroblock's coefficients into BLOCKS and CODES. False if there are none. */
export function readTokens(above: usize, hasBlocks: bool, quantisers: usize): bool {
  let top: i32 = load<u16>(above)
  let left = leftBits
  let first = 0
  let kind = LUMA
  if (!hasBlocks) {
    const context = (top >> 8) + (left >> 8)
    const end = readBlock(LUMA_DC, context, quantisers + QUANTISER_BYTES, 0, DC_BLOCK)
    top = end > 0 ? top | DC_BIT : top & ~DC_BIT
    left = end > 0 ? left | DC_BIT : left & ~DC_BIT
    if (end > 0) transformDc(DC_BLOCK, BLOCKS, end > 1)
    first = 1
    kind = LUMA_WITHOUT_DC
  }
  let any: i32 = 0
  for (let i = 0; i < 16; i++) {
    const x = i & 3
    const y = i >> 2
    const to = BLOCKS + i * BLOCK_BYTES
    const context = ((top >> x) & 1) + ((left >> y) & 1)
    const end = readBlock(kind, context, quantisers, first, to)
    const bit = i32(end > first)
    top = (top & ~(1 << x)) | (bit << x)
    left = (left & ~(1 << y)) | (bit << y)
    any |= setCode(i, end, to)
  }
  for (let i = 16; i < 24; i++) {
    // Bits 4 and 5 are of the first chroma, 6 and 7 of the second.
    const plane = 4 + ((i >> 1) & 2)
    const x = plane + (i & 1)
    const y = plane + ((i >> 1) & 1)
    const to = BLOCKS + i * BLOCK_BYTES
    const context = ((top >> x) & 1) + ((left >> y) & 1)
    const end = readBlock(CHROMA, context, quantisers + 2 * QUANTISER_BYTES, 0, to)
    const bit = i32(end > 0)
    top = (top & ~(1 << x)) | (bit << x)
    left = (left & ~(1 << y)) | (bit << y)
    any |= setCode(i, end, to)
  }
  leftBits = left
  store<u16>(above, <u16>top)
  return any != 0
}

@inline
function setCode(block: i32, end: i32, at: usize): i32 {
  const code = end > 3 ? ANYTHING : end > 1 ? FIRST_THREE : i32(load<i16>(at) != 0)
  store<u8>(CODES + block, <u8>code)
  return code
}

/** Reads one block from position `first` on. Returns one more than the position of its last coefficient. */
function readBlock(kind: i32, context: i32, quantisers: usize, first: i32, to: usize): i32 {
  const probabilities = PROBABILITIES + kind * KIND_BYTES
  let v = value
  let n = count
  let r = range
  let at = next
  let k = first
  let p = probabilities + k * POSITION_BYTES + context * CONTEXT_BYTES
  while (k < 16) {
    // A token's first three bits and its sign use 22 at most.
    if (n < 40) {
      v |= load<u64>(at) >> n
      at -= (63 - n) >> 3
      n |= 56
    }
    let split = (r * load<u8>(p)) >> 8
    let bound = <u64>(split + 1) << 56
    if (v < bound) {
      const shift = clz(split + 1) - 24
      setState(v << shift, n - shift, ((split + 1) << shift) - 1, at)
      return k
    }
    v -= bound
    r -= split
    let shift = clz(r) - 24
    v <<= shift
    n -= shift
    r = (r << shift) - 1
    // Zeros: none of them is the last coefficient.
    for (;;) {
      split = (r * load<u8>(p, 1)) >> 8
      bound = <u64>(split + 1) << 56
      if (v >= bound) break
      shift = clz(split + 1) - 24
      v <<= shift
      n -= shift
      r = ((split + 1) << shift) - 1
      k++
      if (k == 16) {
        setState(v, n, r, at)
        return 16
      }
      p = probabilities + k * POSITION_BYTES
      if (n < 40) {
        v |= load<u64>(at) >> n
        at -= (63 - n) >> 3
        n |= 56
      }
    }
    v -= bound
    r -= split
    shift = clz(r) - 24
    v <<= shift
    n -= shift
    r = (r << shift) - 1
    split = (r * load<u8>(p, 2)) >> 8
    bound = <u64>(split + 1) << 56
    let level: i32 = 1
    let following = CONTEXT_BYTES
    if (v < bound) {
      shift = clz(split + 1) - 24
      v <<= shift
      n -= shift
      r = ((split + 1) << shift) - 1
    } else {
      v -= bound
      r -= split
      shift = clz(r) - 24
      setState(v << shift, n - shift, (r << shift) - 1, at)
      level = readLevel(p)
      v = value
      n = count
      r = range
      at = next
      following = 2 * CONTEXT_BYTES
    }
    // The sign: one bit, as likely as not, that always takes one bit.
    split = r >> 1
    bound = <u64>(split + 1) << 56
    const negative = -i32(v >= bound)
    v = (v - (bound & <u64>(<i64>negative))) << 1
    n -= 1
    r = (r + negative) | 1
    store<i16>(
      to + load<u8>(ZIGZAG + k),
      <i16>(((level ^ negative) - negative) * <i32>load<u16>(quantisers + (k << 1))),
    )
    k++
    p = probabilities + k * POSITION_BYTES + following
  }
  setState(v, n, r, at)
  return 16
}

/** Probabilities of the extra bits of the four largest categories, each ended by 0. */
const EXTRA_BITS: usize = memory.data<u8>([
  173, 148, 140, 0, 0, 0, 0, 0, 0, 0, 0, 0,
  176, 155, 140, 135, 0, 0, 0, 0, 0, 0, 0, 0,
  180, 157, 141, 134, 130, 0, 0, 0, 0, 0, 0, 0,
  254, 254, 243, 230, 196, 177, 153, 140, 133, 130, 129, 0,
])

/** A level of two or more. */
function readLevel(p: usize): i32 {
  if (!readBit(load<u8>(p, 3))) {
    if (!readBit(load<u8>(p, 4))) return 2
    return 3 + readBit(load<u8>(p, 5))
  }
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
