/**
 * The accurate integer inverse transform (libjpeg's "islow"), as libjpeg-turbo's vectors compute it
 * (simd/x86_64/jidctint-avx2.asm): 16-bit products with the quantisers, 32-bit sums, saturation where they
 * are packed. Columns first, then rows, two values per multiply-add.
 */
import { high, low } from '../pixels/interleave'
import { BLOCK } from './memory'

/** Bits dropped by each pass: two are kept between them. */
const FIRST_SHIFT: i32 = 11
const SECOND_SHIFT: i32 = 18

@inline
function pair(a: i16, b: i16): v128 {
  return i16x8(a, b, a, b, a, b, a, b)
}

@inline
function descale(a: v128, b: v128, half: v128, shift: i32): v128 {
  return i16x8.narrow_i32x4_s(i32x4.shr_s(i32x4.add(a, half), shift), i32x4.shr_s(i32x4.add(b, half), shift))
}

@inline
function coefficients(row: usize, quant: usize): v128 {
  return i16x8.mul(v128.load(BLOCK + row * 16), v128.load(quant + row * 16))
}

@inline
function storePair(to: usize, stride: usize, a: v128, b: v128): void {
  const bytes = v128.xor(i8x16.narrow_i16x8_s(a, b), i8x16.splat(-128))
  v128.store64_lane(to, bytes, 0)
  v128.store64_lane(to + stride, bytes, 1)
}

/** One pass over eight columns, transposed: of BLOCK to 16-bit values at `to`, or of those to samples. */
@inline
function transformColumns(from: usize, quant: usize, shift: i32, to: usize, stride: usize): void {
  const isFirst = shift == FIRST_SHIFT
  const i0 = isFirst ? coefficients(0, quant) : v128.load(from)
  const i1 = isFirst ? coefficients(1, quant) : v128.load(from, 16)
  const i2 = isFirst ? coefficients(2, quant) : v128.load(from, 32)
  const i3 = isFirst ? coefficients(3, quant) : v128.load(from, 48)
  const i4 = isFirst ? coefficients(4, quant) : v128.load(from, 64)
  const i5 = isFirst ? coefficients(5, quant) : v128.load(from, 80)
  const i6 = isFirst ? coefficients(6, quant) : v128.load(from, 96)
  const i7 = isFirst ? coefficients(7, quant) : v128.load(from, 112)
  const half = i32x4.splat(1 << (shift - 1))
  // Even part.
  const l26 = low(i2, i6)
  const h26 = high(i2, i6)
  const c2 = pair(4433, -10704)
  const c3 = pair(10703, 4433)
  const t2l = i32x4.dot_i16x8_s(l26, c2)
  const t2h = i32x4.dot_i16x8_s(h26, c2)
  const t3l = i32x4.dot_i16x8_s(l26, c3)
  const t3h = i32x4.dot_i16x8_s(h26, c3)
  const sum = i16x8.add(i0, i4)
  const dif = i16x8.sub(i0, i4)
  const t0l = i32x4.shl(i32x4.extend_low_i16x8_s(sum), 13)
  const t0h = i32x4.shl(i32x4.extend_high_i16x8_s(sum), 13)
  const t1l = i32x4.shl(i32x4.extend_low_i16x8_s(dif), 13)
  const t1h = i32x4.shl(i32x4.extend_high_i16x8_s(dif), 13)
  const e0l = i32x4.add(t0l, t3l)
  const e0h = i32x4.add(t0h, t3h)
  const e3l = i32x4.sub(t0l, t3l)
  const e3h = i32x4.sub(t0h, t3h)
  const e1l = i32x4.add(t1l, t2l)
  const e1h = i32x4.add(t1h, t2h)
  const e2l = i32x4.sub(t1l, t2l)
  const e2h = i32x4.sub(t1h, t2h)
  // Odd part.
  const z3 = i16x8.add(i7, i3)
  const z4 = i16x8.add(i5, i1)
  const zl = low(z3, z4)
  const zh = high(z3, z4)
  const cz3 = pair(-6436, 9633)
  const cz4 = pair(9633, 6437)
  const z3l = i32x4.dot_i16x8_s(zl, cz3)
  const z3h = i32x4.dot_i16x8_s(zh, cz3)
  const z4l = i32x4.dot_i16x8_s(zl, cz4)
  const z4h = i32x4.dot_i16x8_s(zh, cz4)
  const l71 = low(i7, i1)
  const h71 = high(i7, i1)
  const ca = pair(-4927, -7373)
  const cb = pair(-7373, 4926)
  const d0l = i32x4.add(i32x4.dot_i16x8_s(l71, ca), z3l)
  const d0h = i32x4.add(i32x4.dot_i16x8_s(h71, ca), z3h)
  const d3l = i32x4.add(i32x4.dot_i16x8_s(l71, cb), z4l)
  const d3h = i32x4.add(i32x4.dot_i16x8_s(h71, cb), z4h)
  const l53 = low(i5, i3)
  const h53 = high(i5, i3)
  const cc = pair(-4176, -20995)
  const cd = pair(-20995, 4177)
  const d1l = i32x4.add(i32x4.dot_i16x8_s(l53, cc), z4l)
  const d1h = i32x4.add(i32x4.dot_i16x8_s(h53, cc), z4h)
  const d2l = i32x4.add(i32x4.dot_i16x8_s(l53, cd), z3l)
  const d2h = i32x4.add(i32x4.dot_i16x8_s(h53, cd), z3h)
  const o0 = descale(i32x4.add(e0l, d3l), i32x4.add(e0h, d3h), half, shift)
  const o7 = descale(i32x4.sub(e0l, d3l), i32x4.sub(e0h, d3h), half, shift)
  const o1 = descale(i32x4.add(e1l, d2l), i32x4.add(e1h, d2h), half, shift)
  const o6 = descale(i32x4.sub(e1l, d2l), i32x4.sub(e1h, d2h), half, shift)
  const o2 = descale(i32x4.add(e2l, d1l), i32x4.add(e2h, d1h), half, shift)
  const o5 = descale(i32x4.sub(e2l, d1l), i32x4.sub(e2h, d1h), half, shift)
  const o3 = descale(i32x4.add(e3l, d0l), i32x4.add(e3h, d0h), half, shift)
  const o4 = descale(i32x4.sub(e3l, d0l), i32x4.sub(e3h, d0h), half, shift)
  // Transpose.
  const a0 = low(o0, o4)
  const a1 = high(o0, o4)
  const a2 = low(o1, o5)
  const a3 = high(o1, o5)
  const a4 = low(o2, o6)
  const a5 = high(o2, o6)
  const a6 = low(o3, o7)
  const a7 = high(o3, o7)
  const b0 = low(a0, a4)
  const b1 = high(a0, a4)
  const b2 = low(a1, a5)
  const b3 = high(a1, a5)
  const b4 = low(a2, a6)
  const b5 = high(a2, a6)
  const b6 = low(a3, a7)
  const b7 = high(a3, a7)
  if (isFirst) {
    v128.store(to, low(b0, b4))
    v128.store(to, high(b0, b4), 16)
    v128.store(to, low(b1, b5), 32)
    v128.store(to, high(b1, b5), 48)
    v128.store(to, low(b2, b6), 64)
    v128.store(to, high(b2, b6), 80)
    v128.store(to, low(b3, b7), 96)
    v128.store(to, high(b3, b7), 112)
  } else {
    storePair(to, stride, low(b0, b4), high(b0, b4))
    storePair(to + 2 * stride, stride, low(b1, b5), high(b1, b5))
    storePair(to + 4 * stride, stride, low(b2, b6), high(b2, b6))
    storePair(to + 6 * stride, stride, low(b3, b7), high(b3, b7))
  }
}

/** BLOCK times `quant` -> 8×8 samples at `to`. `last`: the last coefficient that is not 0, in zigzag order. */
export function transformBlock(quant: usize, to: usize, stride: usize, last: i32): void {
  if (last == 0) {
    // Only DC: every sample is the same.
    const dc = i16x8.mul(v128.load(BLOCK), v128.load(quant))
    const flat = i16x8.splat(i16x8.extract_lane_s(i16x8.shl(dc, 2), 0))
    const sample = i16x8.shr_s(i16x8.add_sat_s(flat, i16x8.splat(16)), 5)
    storePair(to, stride, sample, sample)
    storePair(to + 2 * stride, stride, sample, sample)
    storePair(to + 4 * stride, stride, sample, sample)
    storePair(to + 6 * stride, stride, sample, sample)
    return
  }
  if (isTopRowOnly()) spreadTopRow(quant)
  else transformColumns(BLOCK, quant, FIRST_SHIFT, BLOCK, 0)
  transformColumns(BLOCK, 0, SECOND_SHIFT, to, stride)
}

@inline
function isTopRowOnly(): bool {
  let rest = v128.load(BLOCK, 16)
  rest = v128.or(rest, v128.load(BLOCK, 32))
  rest = v128.or(rest, v128.load(BLOCK, 48))
  rest = v128.or(rest, v128.load(BLOCK, 64))
  rest = v128.or(rest, v128.load(BLOCK, 80))
  rest = v128.or(rest, v128.load(BLOCK, 96))
  rest = v128.or(rest, v128.load(BLOCK, 112))
  return !v128.any_true(rest)
}

/** The first pass where no column has more than its top value. Like libjpeg-turbo's it wraps, where the other saturates. */
function spreadTopRow(quant: usize): void {
  const top = i16x8.shl(coefficients(0, quant), 2)
  v128.store(BLOCK, i16x8.splat(i16x8.extract_lane_s(top, 0)))
  v128.store(BLOCK, i16x8.splat(i16x8.extract_lane_s(top, 1)), 16)
  v128.store(BLOCK, i16x8.splat(i16x8.extract_lane_s(top, 2)), 32)
  v128.store(BLOCK, i16x8.splat(i16x8.extract_lane_s(top, 3)), 48)
  v128.store(BLOCK, i16x8.splat(i16x8.extract_lane_s(top, 4)), 64)
  v128.store(BLOCK, i16x8.splat(i16x8.extract_lane_s(top, 5)), 80)
  v128.store(BLOCK, i16x8.splat(i16x8.extract_lane_s(top, 6)), 96)
  v128.store(BLOCK, i16x8.splat(i16x8.extract_lane_s(top, 7)), 112)
}

/** Makes BLOCK zero. */
export function clearBlock(): void {
  const zero = i64x2(0, 0)
  for (let i: usize = 0; i < 128; i += 16) v128.store(BLOCK + i, zero)
}
