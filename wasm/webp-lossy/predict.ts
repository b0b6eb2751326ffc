/**
 * Intra prediction (RFC 6386, section 12) and the residuals on top of it. Planes hold a margin to the left of their
 * rows (129) and one row above the first (127), so that only the mean (DC) has to know where the edges are. In the
 * plane of chroma a macroblock has 16 bytes in each of 8 rows: those of the first chroma, then those of the second.
 */
import { BLOCK_BYTES, BLOCKS, CODES, NOTHING } from './blocks'
import { load4x4, store4x4 } from './square'
import { DC, HORIZONTAL, TRUE_MOTION, VERTICAL } from './tables'
import { addAll, addBlock } from './transform'

/** The sum of eight bytes. */
@inline
function sumOf(bytes: v128): i32 {
  const sums = i32x4.extadd_pairwise_i16x8_u(bytes)
  const pairs = i32x4.add(sums, v128.shuffle<i32>(sums, sums, 2, 3, 0, 1))
  return i32x4.extract_lane(pairs, 0) + i32x4.extract_lane(pairs, 1)
}

/** The sum of `rows` bytes of a column. */
function sumDown(at: usize, stride: usize, rows: i32): i32 {
  let sum: i32 = 0
  for (let y = 0; y < rows; y++, at += stride) sum += load<u8>(at)
  return sum
}

/** The mean of `size` values above, if there are any, and as many to the left; 128 where there are none. */
function meanOf(above: i32, left: i32, hasAbove: bool, hasLeft: bool, log2: i32): i32 {
  if (hasAbove && hasLeft) return (above + left + (1 << log2)) >> (log2 + 1)
  if (hasAbove || hasLeft) return ((hasAbove ? above : left) + (1 << (log2 - 1))) >> log2
  return 128
}

/** The 16×16 pixels of luma at `at`. */
export function predictLuma(mode: i32, at: usize, stride: usize, hasAbove: bool, hasLeft: bool): void {
  const above = v128.load(at - stride)
  if (mode == TRUE_MOTION) {
    const corner = i16x8.splat(load<u8>(at - stride - 1))
    const low = i16x8.sub(i16x8.extend_low_i8x16_u(above), corner)
    const high = i16x8.sub(i16x8.extend_high_i8x16_u(above), corner)
    for (let y = 0; y < 16; y++, at += stride) {
      const left = i16x8.splat(load<u8>(at - 1))
      v128.store(at, i8x16.narrow_i16x8_u(i16x8.add(low, left), i16x8.add(high, left)))
    }
    return
  }
  if (mode == HORIZONTAL) {
    for (let y = 0; y < 16; y++, at += stride) v128.store(at, v128.load8_splat(at - 1))
    return
  }
  let row = above
  if (mode == DC) {
    const sum = sumOf(i16x8.extadd_pairwise_i8x16_u(above))
    row = i8x16.splat(<i8>meanOf(sum, sumDown(at - 1, stride, 16), hasAbove, hasLeft, 4))
  }
  for (let y = 0; y < 16; y++, at += stride) v128.store(at, row)
}

export function addLumaResidual(at: usize, stride: usize): void {
  for (let i = 0; i < 16; i++) {
    const code = <i32>load<u8>(CODES + i)
    if (code == NOTHING) continue
    const to = at + <usize>(i >> 2) * 4 * stride + ((i & 3) << 2)
    store4x4(to, stride, addBlock(code, BLOCKS + i * BLOCK_BYTES, load4x4(to, stride)))
  }
}

/** Both chromas of a macroblock, at `at`. */
export function predictChroma(mode: i32, at: usize, stride: usize, hasAbove: bool, hasLeft: bool): void {
  const above = v128.load(at - stride)
  // The macroblock to the left has the last column of the first chroma 9 bytes before, that of the second one before.
  if (mode == TRUE_MOTION) {
    const first = i16x8.sub(i16x8.extend_low_i8x16_u(above), i16x8.splat(load<u8>(at - stride - 9)))
    const second = i16x8.sub(i16x8.extend_high_i8x16_u(above), i16x8.splat(load<u8>(at - stride - 1)))
    for (let y = 0; y < 8; y++, at += stride) {
      const row = i8x16.narrow_i16x8_u(
        i16x8.add(first, i16x8.splat(load<u8>(at - 9))),
        i16x8.add(second, i16x8.splat(load<u8>(at - 1))),
      )
      v128.store(at, row)
    }
    return
  }
  if (mode == HORIZONTAL) {
    for (let y = 0; y < 8; y++, at += stride) {
      v128.store(at, v128.shuffle<i64>(v128.load8_splat(at - 9), v128.load8_splat(at - 1), 0, 2))
    }
    return
  }
  let row = above
  if (mode == DC) {
    const first = sumOf(i16x8.extend_low_i8x16_u(above))
    const second = sumOf(i16x8.extend_high_i8x16_u(above))
    row = v128.shuffle<i64>(
      i8x16.splat(<i8>meanOf(first, sumDown(at - 9, stride, 8), hasAbove, hasLeft, 3)),
      i8x16.splat(<i8>meanOf(second, sumDown(at - 1, stride, 8), hasAbove, hasLeft, 3)),
      0,
      2,
    )
  }
  for (let y = 0; y < 8; y++, at += stride) v128.store(at, row)
}

/** As libwebp does: all blocks of a chroma in 16 bits if one has more than DC, in 32 bits if none has. */
export function addChromaResidual(at: usize, stride: usize): void {
  for (let i = 16; i < 24; i += 4) {
    const codes = load<u32>(CODES + i)
    if (codes == 0) continue
    const isWhole = (codes & 0x02020202) != 0
    for (let j = i; j < i + 4; j++) {
      const code = <i32>load<u8>(CODES + j)
      if (code == NOTHING) continue
      const to = at + <usize>((j >> 1) & 1) * 4 * stride + ((j & 1) << 2) + ((j & 4) << 1)
      const block = BLOCKS + j * BLOCK_BYTES
      const pixels = load4x4(to, stride)
      store4x4(to, stride, isWhole ? addAll(block, pixels) : addBlock(code, block, pixels))
    }
  }
}

/**
 * The 16 pixels of a mode as places among the edge's means, row by row. The edge runs from the bottom left to the top
 * right: L L K J I, the corner X, then A B C D E F G H H. Places 0 to 15 are means of three around a place of the edge,
 * 16 to 31 means of a place and the next.
 */
const PLACES: usize = memory.data<u8>([
  6, 7, 8, 9, 6, 7, 8, 9, 6, 7, 8, 9, 6, 7, 8, 9, // vertical
  4, 4, 4, 4, 3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, // horizontal
  5, 6, 7, 8, 4, 5, 6, 7, 3, 4, 5, 6, 2, 3, 4, 5, // right down
  21, 22, 23, 24, 5, 6, 7, 8, 4, 21, 22, 23, 3, 5, 6, 7, // vertical right
  7, 8, 9, 10, 8, 9, 10, 11, 9, 10, 11, 12, 10, 11, 12, 13, // left down
  22, 23, 24, 25, 7, 8, 9, 10, 23, 24, 25, 11, 8, 9, 10, 12, // vertical left
  20, 5, 6, 7, 19, 4, 20, 5, 18, 3, 19, 4, 17, 2, 18, 3, // horizontal down
  19, 3, 18, 2, 18, 2, 17, 1, 17, 1, 16, 16, 16, 16, 16, 16, // horizontal up
])

/** The macroblock at `at` block by block, each with its residual, if there is any. `modes`: 16 bytes. */
export function predictBlocks(modes: usize, at: usize, stride: usize, hasResidual: bool): void {
  // What is to the upper right of a macroblock serves all four rows of blocks.
  const corner = load<u32>(at - stride + 16)
  for (let i = 0; i < 16; i++) {
    const to = at + <usize>(i >> 2) * 4 * stride + ((i & 3) << 2)
    const above = to - stride
    const mode = <i32>load<u8>(modes + i)
    const right = (i & 3) == 3 ? corner : load<u32>(above + 4)
    const pixels = predictBlock(mode, to, stride, above, right)
    const code = hasResidual ? <i32>load<u8>(CODES + i) : NOTHING
    store4x4(to, stride, addBlock(code, BLOCKS + i * BLOCK_BYTES, pixels))
  }
}

function predictBlock(mode: i32, at: usize, stride: usize, above: usize, right: u32): v128 {
  const l0 = <u32>load<u8>(at - 1)
  const l1 = <u32>load<u8>(at + stride - 1)
  const l2 = <u32>load<u8>(at + 2 * stride - 1)
  const l3 = <u32>load<u8>(at + 3 * stride - 1)
  if (mode == DC) {
    const top = load<u32>(above)
    const pairs = (top & 0xff00ff) + ((top >> 8) & 0xff00ff)
    return i8x16.splat(<i8>(((pairs & 0xffff) + (pairs >> 16) + l0 + l1 + l2 + l3 + 4) >> 3))
  }
  if (mode == TRUE_MOTION) {
    const row = i16x8.sub(i16x8.extend_low_i8x16_u(v128.load32_splat(above)), i16x8.splat(load<u8>(above - 1)))
    const left01 = v128.shuffle<i64>(i16x8.splat(<i16>l0), i16x8.splat(<i16>l1), 0, 2)
    const left23 = v128.shuffle<i64>(i16x8.splat(<i16>l2), i16x8.splat(<i16>l3), 0, 2)
    return i8x16.narrow_i16x8_u(i16x8.add(row, left01), i16x8.add(row, left23))
  }
  // No load is larger than the store that it reads from: processors wait for such ones.
  const top = load<u32>(above)
  const corner = <u64>load<u8>(above - 1)
  const left = <u64>((l3 * 0x101) | (l2 << 16) | (l1 << 24))
  const low = left | ((<u64>l0) << 32) | (corner << 40) | ((<u64>top) << 48)
  const high = <u64>(top >> 16) | ((<u64>right) << 16) | ((<u64>(right >> 24)) << 48)
  const edge = i64x2.replace_lane(i64x2.splat(low), 1, high)
  const following = v128.shuffle<i8>(edge, edge, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 15)
  const before = v128.shuffle<i8>(edge, edge, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14)
  const two = i8x16.avgr_u(edge, following)
  // (a + 2b + c + 2) >> 2 is the rounded mean of b and of the mean of a and c, rounded down.
  const odd = v128.and(v128.xor(before, following), i8x16.splat(1))
  const three = i8x16.avgr_u(edge, i8x16.sub(i8x16.avgr_u(before, following), odd))
  const places = v128.load(PLACES + ((mode - VERTICAL) << 4))
  return v128.or(
    v128.swizzle(three, places),
    v128.swizzle(two, i8x16.sub(places, i8x16.splat(16))),
  )
}
