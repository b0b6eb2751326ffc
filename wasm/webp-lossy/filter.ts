/**
 * The loop filter (RFC 6386, section 15): edges between macroblocks, then edges of blocks inside, each first to the
 * left and then above. Sixteen pixels of an edge at a time, which for chroma are eight of either. To filter an edge
 * between columns, these are first written as rows.
 */
import { INNER_EDGES } from './header'
import { load4x4, store4x4, turn } from './square'

/** Bytes of a column that was written as a row. */
const COLUMN: usize = 16
/** Columns -4 to 15 of a macroblock, as rows. */
const COLUMNS: usize = memory.data(20 * 16, 16)
const COLUMN_0: usize = COLUMNS + 4 * 16

const SIGN: i8 = -128

@inline
function difference(a: v128, b: v128): v128 {
  return v128.or(i8x16.sub_sat_u(a, b), i8x16.sub_sat_u(b, a))
}

/** Whether 2|p0-q0| + |p1-q1|/2 is at most `limit`. */
@inline
function isSmooth(p1: v128, p0: v128, q0: v128, q1: v128, limit: v128): v128 {
  const step = difference(p0, q0)
  const half = v128.and(i16x8.shr_u(difference(p1, q1), 1), i8x16.splat(0x7f))
  return i8x16.le_u(i8x16.add_sat_u(i8x16.add_sat_u(step, step), half), limit)
}

/** Whether neighbours on either side differ by at most `limit`, and the edge is smooth. */
@inline
function isFiltered(at: usize, step: usize, limit: v128, inside: v128): v128 {
  const p3 = v128.load(at - 4 * step)
  const p2 = v128.load(at - 3 * step)
  const p1 = v128.load(at - 2 * step)
  const p0 = v128.load(at - step)
  const q0 = v128.load(at)
  const q1 = v128.load(at + step)
  const q2 = v128.load(at + 2 * step)
  const q3 = v128.load(at + 3 * step)
  const p = i8x16.max_u(i8x16.max_u(difference(p3, p2), difference(p2, p1)), difference(p1, p0))
  const q = i8x16.max_u(i8x16.max_u(difference(q3, q2), difference(q2, q1)), difference(q1, q0))
  return v128.and(i8x16.le_u(i8x16.max_u(p, q), inside), isSmooth(p1, p0, q0, q1, limit))
}

/** Whether the step from one pixel to the next on one side is above `threshold`. */
@inline
function isVaried(p1: v128, p0: v128, q0: v128, q1: v128, threshold: v128): v128 {
  return i8x16.gt_u(i8x16.max_u(difference(p1, p0), difference(q1, q0)), threshold)
}

@inline
function signed(bytes: v128): v128 {
  return v128.xor(bytes, i8x16.splat(SIGN))
}

/** `start` + 3(q0 - p0). */
@inline
function correction(start: v128, p0: v128, q0: v128): v128 {
  const step = i8x16.sub_sat_s(q0, p0)
  return i8x16.add_sat_s(i8x16.add_sat_s(i8x16.add_sat_s(start, step), step), step)
}

/** One eighth of a correction, rounded: what is taken from q0 and, with 3 for `rounding`, given to p0. */
@inline
function eighth(change: v128, rounding: i8): v128 {
  return i8x16.shr_s(i8x16.add_sat_s(change, i8x16.splat(rounding)), 3)
}

@inline
function storeSigned(at: usize, values: v128): void {
  v128.store(at, signed(values))
}

/** The simple filter's only kind of edge: two pixels change. */
function filterSimple(at: usize, step: usize, limit: i32): void {
  const p1 = v128.load(at - 2 * step)
  const p0 = v128.load(at - step)
  const q0 = v128.load(at)
  const q1 = v128.load(at + step)
  const mask = isSmooth(p1, p0, q0, q1, i8x16.splat(<i8>limit))
  const start = i8x16.sub_sat_s(signed(p1), signed(q1))
  const change = v128.and(correction(start, signed(p0), signed(q0)), mask)
  storeSigned(at, i8x16.sub_sat_s(signed(q0), eighth(change, 4)))
  storeSigned(at - step, i8x16.add_sat_s(signed(p0), eighth(change, 3)))
}

/** An edge inside a macroblock: four pixels change, or two where they vary. */
function filterInner(at: usize, step: usize, limit: v128, inside: v128, variance: v128): void {
  const mask = isFiltered(at, step, limit, inside)
  if (!v128.any_true(mask)) return
  const u1 = v128.load(at - 2 * step)
  const u0 = v128.load(at - step)
  const v0 = v128.load(at)
  const v1 = v128.load(at + step)
  const varied = isVaried(u1, u0, v0, v1, variance)
  const p1 = signed(u1)
  const p0 = signed(u0)
  const q0 = signed(v0)
  const q1 = signed(v1)
  const start = v128.and(i8x16.sub_sat_s(p1, q1), varied)
  const change = v128.and(correction(start, p0, q0), mask)
  const taken = eighth(change, 4)
  storeSigned(at, i8x16.sub_sat_s(q0, taken))
  storeSigned(at - step, i8x16.add_sat_s(p0, eighth(change, 3)))
  const outer = v128.andnot(i8x16.shr_s(i8x16.add(taken, i8x16.splat(1)), 1), varied)
  storeSigned(at + step, i8x16.sub_sat_s(q1, outer))
  storeSigned(at - 2 * step, i8x16.add_sat_s(p1, outer))
}

/** 128ths as 16-bit values in two vectors -> 8-bit values. */
@inline
function part(low: v128, high: v128): v128 {
  return i8x16.narrow_i16x8_s(i16x8.shr_s(low, 7), i16x8.shr_s(high, 7))
}

/** An edge between macroblocks: six pixels change, or two where they vary. */
function filterOuter(at: usize, step: usize, limit: v128, inside: v128, variance: v128): void {
  const mask = isFiltered(at, step, limit, inside)
  if (!v128.any_true(mask)) return
  const u1 = v128.load(at - 2 * step)
  const u0 = v128.load(at - step)
  const v0 = v128.load(at)
  const v1 = v128.load(at + step)
  const varied = isVaried(u1, u0, v0, v1, variance)
  const p1 = signed(u1)
  const q1 = signed(v1)
  const change = v128.and(correction(i8x16.sub_sat_s(p1, q1), signed(u0), signed(v0)), mask)
  // Where they vary.
  const few = v128.and(change, varied)
  const q0 = i8x16.sub_sat_s(signed(v0), eighth(few, 4))
  const p0 = i8x16.add_sat_s(signed(u0), eighth(few, 3))
  // Elsewhere: 27, 18 and 9 parts of 128, rounded.
  const many = v128.andnot(change, varied)
  const half = i16x8.splat(63)
  const nine = i16x8.splat(9)
  const low = i16x8.mul(i16x8.extend_low_i8x16_s(many), nine)
  const high = i16x8.mul(i16x8.extend_high_i8x16_s(many), nine)
  const low1 = i16x8.add(low, half)
  const high1 = i16x8.add(high, half)
  const low2 = i16x8.add(low1, low)
  const high2 = i16x8.add(high1, high)
  const far = part(low1, high1)
  const middle = part(low2, high2)
  const near = part(i16x8.add(low2, low), i16x8.add(high2, high))
  storeSigned(at, i8x16.sub_sat_s(q0, near))
  storeSigned(at - step, i8x16.add_sat_s(p0, near))
  storeSigned(at + step, i8x16.sub_sat_s(q1, middle))
  storeSigned(at - 2 * step, i8x16.add_sat_s(p1, middle))
  storeSigned(at + 2 * step, i8x16.sub_sat_s(signed(v128.load(at + 2 * step)), far))
  storeSigned(at - 3 * step, i8x16.add_sat_s(signed(v128.load(at - 3 * step)), far))
}

/** Four columns of sixteen rows, eight from `a` and eight from `b` on -> rows at `to`. */
function columnsToRows(a: usize, b: usize, stride: usize, to: usize): void {
  const s0 = turn(load4x4(a, stride))
  const s1 = turn(load4x4(a + 4 * stride, stride))
  const s2 = turn(load4x4(b, stride))
  const s3 = turn(load4x4(b + 4 * stride, stride))
  const l0 = v128.shuffle<i32>(s0, s1, 0, 4, 1, 5)
  const l1 = v128.shuffle<i32>(s2, s3, 0, 4, 1, 5)
  const h0 = v128.shuffle<i32>(s0, s1, 2, 6, 3, 7)
  const h1 = v128.shuffle<i32>(s2, s3, 2, 6, 3, 7)
  v128.store(to, v128.shuffle<i64>(l0, l1, 0, 2))
  v128.store(to, v128.shuffle<i64>(l0, l1, 1, 3), 16)
  v128.store(to, v128.shuffle<i64>(h0, h1, 0, 2), 32)
  v128.store(to, v128.shuffle<i64>(h0, h1, 1, 3), 48)
}

/** The way back. */
function rowsToColumns(from: usize, a: usize, b: usize, stride: usize): void {
  const c0 = v128.load(from)
  const c1 = v128.load(from, 16)
  const c2 = v128.load(from, 32)
  const c3 = v128.load(from, 48)
  const l0 = v128.shuffle<i32>(c0, c1, 0, 4, 1, 5)
  const l1 = v128.shuffle<i32>(c2, c3, 0, 4, 1, 5)
  const h0 = v128.shuffle<i32>(c0, c1, 2, 6, 3, 7)
  const h1 = v128.shuffle<i32>(c2, c3, 2, 6, 3, 7)
  store4x4(a, stride, turn(v128.shuffle<i64>(l0, l1, 0, 2)))
  store4x4(a + 4 * stride, stride, turn(v128.shuffle<i64>(l0, l1, 1, 3)))
  store4x4(b, stride, turn(v128.shuffle<i64>(h0, h1, 0, 2)))
  store4x4(b + 4 * stride, stride, turn(v128.shuffle<i64>(h0, h1, 1, 3)))
}

/** The simple filter on the luma of a macroblock. `strength`: as header.ts says. */
export function filterSimply(strength: u32, luma: usize, stride: usize, hasAbove: bool, hasLeft: bool): void {
  const limit = <i32>(strength & 255)
  if (limit == 0) return
  const inner = (strength & INNER_EDGES) != 0
  const below = luma + 8 * stride
  const last = inner ? 16 : 4
  for (let x = -4; x < last; x += 4) columnsToRows(luma + x, below + x, stride, COLUMN_0 + x * 16)
  if (hasLeft) filterSimple(COLUMN_0, COLUMN, limit + 4)
  if (inner) for (let x = 4; x < 16; x += 4) filterSimple(COLUMN_0 + x * 16, COLUMN, limit)
  for (let x = hasLeft ? -4 : 0; x < last; x += 4) rowsToColumns(COLUMN_0 + x * 16, luma + x, below + x, stride)
  if (hasAbove) filterSimple(luma, stride, limit + 4)
  if (inner) for (let y: usize = 4; y < 16; y += 4) filterSimple(luma + y * stride, stride, limit)
}

/** The normal filter on a macroblock. */
export function filterNormally(
  strength: u32,
  luma: usize,
  chroma: usize,
  stride: usize,
  hasAbove: bool,
  hasLeft: bool,
): void {
  if ((strength & 255) == 0) return
  const inner = (strength & INNER_EDGES) != 0
  const below = luma + 8 * stride
  const second = chroma + 8
  const innerLimit = i8x16.splat(<i8>strength)
  const outerLimit = i8x16.add(innerLimit, i8x16.splat(4))
  const inside = i8x16.splat(<i8>(strength >> 8))
  const variance = i8x16.splat(<i8>(strength >> 16))
  if (hasLeft) {
    columnsToRows(luma - 4, below - 4, stride, COLUMNS)
    columnsToRows(luma, below, stride, COLUMN_0)
    filterOuter(COLUMN_0, COLUMN, outerLimit, inside, variance)
    rowsToColumns(COLUMNS, luma - 4, below - 4, stride)
    if (!inner) rowsToColumns(COLUMN_0, luma, below, stride)
  } else if (inner) columnsToRows(luma, below, stride, COLUMN_0)
  if (inner) {
    for (let x = 4; x < 16; x += 4) {
      columnsToRows(luma + x, below + x, stride, COLUMN_0 + x * 16)
      filterInner(COLUMN_0 + x * 16, COLUMN, innerLimit, inside, variance)
    }
    for (let x = 0; x < 16; x += 4) rowsToColumns(COLUMN_0 + x * 16, luma + x, below + x, stride)
  }
  if (hasLeft) {
    // The right half of either chroma to the left, whose bytes end where these begin.
    columnsToRows(chroma - 12, chroma - 4, stride, COLUMNS)
    columnsToRows(chroma, second, stride, COLUMN_0)
    filterOuter(COLUMN_0, COLUMN, outerLimit, inside, variance)
    rowsToColumns(COLUMNS, chroma - 12, chroma - 4, stride)
    if (!inner) rowsToColumns(COLUMN_0, chroma, second, stride)
  } else if (inner) columnsToRows(chroma, second, stride, COLUMN_0)
  if (inner) {
    columnsToRows(chroma + 4, second + 4, stride, COLUMN_0 + 64)
    filterInner(COLUMN_0 + 64, COLUMN, innerLimit, inside, variance)
    rowsToColumns(COLUMN_0, chroma, second, stride)
    rowsToColumns(COLUMN_0 + 64, chroma + 4, second + 4, stride)
  }
  if (hasAbove) {
    filterOuter(luma, stride, outerLimit, inside, variance)
    filterOuter(chroma, stride, outerLimit, inside, variance)
  }
  if (inner) {
    for (let y: usize = 4; y < 16; y += 4) filterInner(luma + y * stride, stride, innerLimit, inside, variance)
    filterInner(chroma + 4 * stride, stride, innerLimit, inside, variance)
  }
}
