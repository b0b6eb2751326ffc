/**
 * Inverse transforms (RFC 6386, section 14), as libwebp 1.6 computes them on x86: where all coefficients may be
 * there, sums of 16 bits that wrap; elsewhere 32 bits. A block is made zero once it is read.
 */
import { BLOCK_BYTES, FIRST_THREE, NOTHING, ONLY_DC } from './blocks'
import { turn } from './square'

/** Over 65536: cos(π/8)·√2, less one, and sin(π/8)·√2. */
const COS: i32 = 20091
const SIN: i32 = 35468

@inline
function clear(block: usize): void {
  v128.store(block, i64x2(0, 0))
  v128.store(block, i64x2(0, 0), 16)
}

/** The block of DC at `from` -> the DC of 16 blocks at `to`. `isWhole`: it has more than its own DC. */
export function transformDc(from: usize, to: usize, isWhole: bool): void {
  if (isWhole) {
    const r0 = v128.load16x4_s(from)
    const r1 = v128.load16x4_s(from, 8)
    const r2 = v128.load16x4_s(from, 16)
    const r3 = v128.load16x4_s(from, 24)
    const a0 = i32x4.add(r0, r3)
    const a1 = i32x4.add(r1, r2)
    const a2 = i32x4.sub(r1, r2)
    const a3 = i32x4.sub(r0, r3)
    storeDcs(i32x4.add(a0, a1), i32x4.add(a3, a2), i32x4.sub(a0, a1), i32x4.sub(a3, a2), to)
  } else {
    const dc = <i16>((<i32>load<i16>(from) + 3) >> 3)
    for (let i = 0; i < 16; i++) store<i16>(to + i * BLOCK_BYTES, dc)
  }
  clear(from)
}

/** The second pass, of four rows. */
@inline
function storeDcs(r0: v128, r1: v128, r2: v128, r3: v128, to: usize): void {
  const c0 = i32x4.add(columnOf(r0, r1, r2, r3, 0), i32x4.splat(3))
  const c1 = columnOf(r0, r1, r2, r3, 1)
  const c2 = columnOf(r0, r1, r2, r3, 2)
  const c3 = columnOf(r0, r1, r2, r3, 3)
  const a0 = i32x4.add(c0, c3)
  const a1 = i32x4.add(c1, c2)
  const a2 = i32x4.sub(c1, c2)
  const a3 = i32x4.sub(c0, c3)
  storeDcColumn(i32x4.add(a0, a1), to)
  storeDcColumn(i32x4.add(a3, a2), to + BLOCK_BYTES)
  storeDcColumn(i32x4.sub(a0, a1), to + 2 * BLOCK_BYTES)
  storeDcColumn(i32x4.sub(a3, a2), to + 3 * BLOCK_BYTES)
}

@inline
function storeDcColumn(values: v128, to: usize): void {
  const dc = i32x4.shr_s(values, 3)
  v128.store16_lane(to, dc, 0)
  v128.store16_lane(to + 4 * BLOCK_BYTES, dc, 2)
  v128.store16_lane(to + 8 * BLOCK_BYTES, dc, 4)
  v128.store16_lane(to + 12 * BLOCK_BYTES, dc, 6)
}

/** Lane `i` of each of four vectors. */
@inline
function columnOf(a: v128, b: v128, c: v128, d: v128, i: i32): v128 {
  if (i < 2) {
    const ab = v128.shuffle<i32>(a, b, 0, 4, 1, 5)
    const cd = v128.shuffle<i32>(c, d, 0, 4, 1, 5)
    return i == 0 ? v128.shuffle<i64>(ab, cd, 0, 2) : v128.shuffle<i64>(ab, cd, 1, 3)
  }
  const ab = v128.shuffle<i32>(a, b, 2, 6, 3, 7)
  const cd = v128.shuffle<i32>(c, d, 2, 6, 3, 7)
  return i == 2 ? v128.shuffle<i64>(ab, cd, 0, 2) : v128.shuffle<i64>(ab, cd, 1, 3)
}

/** Adds a block's residual to 4×4 pixels, row by row. `code`: what it has (blocks.ts). */
export function addBlock(code: i32, block: usize, pixels: v128): v128 {
  if (code == NOTHING) return pixels
  if (code == ONLY_DC) return addDc(block, pixels)
  if (code == FIRST_THREE) return addThree(block, pixels)
  return addAll(block, pixels)
}

/** Two rows or columns of four residuals each, and two more, added to 16 pixels. */
@inline
function addResidual(pixels: v128, first: v128, second: v128): v128 {
  return i8x16.narrow_i16x8_u(
    i16x8.add(i16x8.extend_low_i8x16_u(pixels), first),
    i16x8.add(i16x8.extend_high_i8x16_u(pixels), second),
  )
}

function addDc(block: usize, pixels: v128): v128 {
  const residual = i16x8.splat(<i16>((<i32>load<i16>(block) + 4) >> 3))
  store<i16>(block, 0)
  return addResidual(pixels, residual, residual)
}

function addThree(block: usize, pixels: v128): v128 {
  const across = <i32>load<i16>(block, 2)
  const down = <i32>load<i16>(block, 8)
  const dc = i32x4.splat(<i32>load<i16>(block) + 4)
  const downSin = i32x4.splat((down * SIN) >> 16)
  const downCos = i32x4.splat(((down * COS) >> 16) + down)
  const acrossSin = (across * SIN) >> 16
  const acrossCos = ((across * COS) >> 16) + across
  let row = i32x4.splat(acrossCos)
  row = i32x4.replace_lane(row, 1, acrossSin)
  row = i32x4.replace_lane(row, 2, -acrossSin)
  row = i32x4.replace_lane(row, 3, -acrossCos)
  row = i32x4.add(row, dc)
  const r0 = i32x4.shr_s(i32x4.add(row, downCos), 3)
  const r1 = i32x4.shr_s(i32x4.add(row, downSin), 3)
  const r2 = i32x4.shr_s(i32x4.sub(row, downSin), 3)
  const r3 = i32x4.shr_s(i32x4.sub(row, downCos), 3)
  clear(block)
  return addResidual(pixels, i16x8.narrow_i32x4_s(r0, r1), i16x8.narrow_i32x4_s(r2, r3))
}

@inline
function timesSin(x: v128): v128 {
  return i32x4.shr_s(i32x4.mul(x, i32x4.splat(SIN)), 16)
}

@inline
function timesCos(x: v128): v128 {
  return i32x4.add(i32x4.shr_s(i32x4.mul(x, i32x4.splat(COS)), 16), x)
}

/** What is left of a sum in 16 bits, shifted to the right. */
@inline
function wrap(x: v128, shift: i32): v128 {
  return i32x4.shr_s(i32x4.shl(x, 16), 16 + shift)
}

export function addAll(block: usize, pixels: v128): v128 {
  const r0 = v128.load16x4_s(block)
  const r1 = v128.load16x4_s(block, 8)
  const r2 = v128.load16x4_s(block, 16)
  const r3 = v128.load16x4_s(block, 24)
  clear(block)
  // Down, column by column.
  const a = i32x4.add(r0, r2)
  const b = i32x4.sub(r0, r2)
  const c = i32x4.sub(timesSin(r1), timesCos(r3))
  const d = i32x4.add(timesCos(r1), timesSin(r3))
  const t0 = wrap(i32x4.add(a, d), 0)
  const t1 = wrap(i32x4.add(b, c), 0)
  const t2 = wrap(i32x4.sub(b, c), 0)
  const t3 = wrap(i32x4.sub(a, d), 0)
  // Across, row by row.
  const c0 = i32x4.add(columnOf(t0, t1, t2, t3, 0), i32x4.splat(4))
  const c1 = columnOf(t0, t1, t2, t3, 1)
  const c2 = columnOf(t0, t1, t2, t3, 2)
  const c3 = columnOf(t0, t1, t2, t3, 3)
  const e = i32x4.add(c0, c2)
  const f = i32x4.sub(c0, c2)
  const g = i32x4.sub(timesSin(c1), timesCos(c3))
  const h = i32x4.add(timesCos(c1), timesSin(c3))
  const x01 = i16x8.narrow_i32x4_s(wrap(i32x4.add(e, h), 3), wrap(i32x4.add(f, g), 3))
  const x23 = i16x8.narrow_i32x4_s(wrap(i32x4.sub(f, g), 3), wrap(i32x4.sub(e, h), 3))
  return turn(addResidual(turn(pixels), x01, x23))
}
