/**
 * Means and sums of squared deviations per channel of one row of [channels, size] values, in float64 (WebAssembly
 * SIMD). The two halves of a vector are two channels, and eight channels are summed at once, so that no sum waits for
 * another; each is taken in the order of its values, for the same bits as a plain loop.
 *
 * A group of eight channels goes through twice: its values are widened and kept in `scratch` (64 bytes for each of
 * `size` places) while they are summed, and read again for the deviations. Means and sums go to `means` and `squares`,
 * eight float64 for every group; beyond the last channel they repeat it.
 */

const TWO_112: f32 = 5192296858534827628530496329220096.0

/** Halves in the low 16 bits of each lane, sign-extended → float32, exactly. */
@inline
function widenHalves(x: v128): v128 {
  // Exponent and mantissa in their places; what is missing is the difference of the biases, 127 − 15.
  const bits = v128.and(i32x4.shl(x, 13), i32x4.splat(0x8fffe000))
  const values = f32x4.mul(bits, f32x4.splat(TWO_112))
  const top = i32x4.splat(0x0f800000)
  const notFinite = i32x4.eq(v128.and(bits, top), top)
  return v128.or(values, v128.and(notFinite, i32x4.splat(0x7f800000)))
}

@inline
function firstTwo(x: v128): v128 {
  return f64x2.promote_low_f32x4(x)
}

@inline
function lastTwo(x: v128): v128 {
  return f64x2.promote_low_f32x4(v128.shuffle<i64>(x, x, 1, 1))
}

/** The next value of a sum, kept at `to`. */
@inline
function keep(sum: v128, to: usize, value: v128): v128 {
  v128.store(to, value)
  return f64x2.add(sum, value)
}

/** Four values each of two channels of float32, added to their sums. */
@inline
function add32(sum: v128, a: usize, b: usize, to: usize): v128 {
  const x = v128.load(a)
  const y = v128.load(b)
  const low = v128.shuffle<i32>(x, y, 0, 4, 1, 5)
  const high = v128.shuffle<i32>(x, y, 2, 6, 3, 7)
  sum = keep(sum, to, firstTwo(low))
  sum = keep(sum, to + 64, lastTwo(low))
  sum = keep(sum, to + 128, firstTwo(high))
  return keep(sum, to + 192, lastTwo(high))
}

/** Four values each of two channels of halves, added to their sums. */
@inline
function add16(sum: v128, a: usize, b: usize, to: usize): v128 {
  const pairs = v128.shuffle<i16>(v128.load64_zero(a), v128.load64_zero(b), 0, 8, 1, 9, 2, 10, 3, 11)
  const low = widenHalves(i32x4.extend_low_i16x8_s(pairs))
  const high = widenHalves(i32x4.extend_high_i16x8_s(pairs))
  sum = keep(sum, to, firstTwo(low))
  sum = keep(sum, to + 64, lastTwo(low))
  sum = keep(sum, to + 128, firstTwo(high))
  return keep(sum, to + 192, lastTwo(high))
}

/** One value each of two channels, added to their sums. */
@inline
function addOne(sum: v128, a: usize, b: usize, to: usize, halves: bool): v128 {
  const pair = halves
    ? widenHalves(i32x4.replace_lane(i32x4.splat(<i32>load<i16>(a)), 1, <i32>load<i16>(b)))
    : f32x4.replace_lane(f32x4.splat(load<f32>(a)), 1, load<f32>(b))
  return keep(sum, to, firstTwo(pair))
}

/** Means of the channels c to c + 7; beyond the last one that again. */
@inline
function sumGroup(data: usize, c: i32, channels: i32, size: i32, halves: bool, to: usize, means: usize): void {
  const step: usize = halves ? 2 : 4
  const stride = <usize>size * step
  const last = channels - 1
  let a0 = data + <usize>c * stride
  let b0 = data + <usize>min(c + 1, last) * stride
  let a1 = data + <usize>min(c + 2, last) * stride
  let b1 = data + <usize>min(c + 3, last) * stride
  let a2 = data + <usize>min(c + 4, last) * stride
  let b2 = data + <usize>min(c + 5, last) * stride
  let a3 = data + <usize>min(c + 6, last) * stride
  let b3 = data + <usize>min(c + 7, last) * stride
  let s0 = f64x2.splat(0)
  let s1 = f64x2.splat(0)
  let s2 = f64x2.splat(0)
  let s3 = f64x2.splat(0)
  let i: usize = 0
  const whole = <usize>(size & ~3) * step
  for (; i < whole; i += 4 * step) {
    s0 = halves ? add16(s0, a0 + i, b0 + i, to) : add32(s0, a0 + i, b0 + i, to)
    s1 = halves ? add16(s1, a1 + i, b1 + i, to + 16) : add32(s1, a1 + i, b1 + i, to + 16)
    s2 = halves ? add16(s2, a2 + i, b2 + i, to + 32) : add32(s2, a2 + i, b2 + i, to + 32)
    s3 = halves ? add16(s3, a3 + i, b3 + i, to + 48) : add32(s3, a3 + i, b3 + i, to + 48)
    to += 256
  }
  for (; i < stride; i += step) {
    s0 = addOne(s0, a0 + i, b0 + i, to, halves)
    s1 = addOne(s1, a1 + i, b1 + i, to + 16, halves)
    s2 = addOne(s2, a2 + i, b2 + i, to + 32, halves)
    s3 = addOne(s3, a3 + i, b3 + i, to + 48, halves)
    to += 64
  }
  const count = f64x2.splat(<f64>size)
  v128.store(means, f64x2.div(s0, count))
  v128.store(means, f64x2.div(s1, count), 16)
  v128.store(means, f64x2.div(s2, count), 32)
  v128.store(means, f64x2.div(s3, count), 48)
}

@inline
function addSquare(sum: v128, value: v128, mean: v128): v128 {
  const deviation = f64x2.sub(value, mean)
  return f64x2.add(sum, f64x2.mul(deviation, deviation))
}

/** Of the eight channels in `scratch`: means, already at `means`, → sums of squared deviations at `squares`. */
@inline
function sumSquares(size: i32, scratch: usize, means: usize, squares: usize): void {
  const m0 = v128.load(means)
  const m1 = v128.load(means, 16)
  const m2 = v128.load(means, 32)
  const m3 = v128.load(means, 48)
  let s0 = f64x2.splat(0)
  let s1 = f64x2.splat(0)
  let s2 = f64x2.splat(0)
  let s3 = f64x2.splat(0)
  const end = scratch + <usize>size * 64
  for (let at = scratch; at < end; at += 64) {
    s0 = addSquare(s0, v128.load(at), m0)
    s1 = addSquare(s1, v128.load(at, 16), m1)
    s2 = addSquare(s2, v128.load(at, 32), m2)
    s3 = addSquare(s3, v128.load(at, 48), m3)
  }
  v128.store(squares, s0)
  v128.store(squares, s1, 16)
  v128.store(squares, s2, 32)
  v128.store(squares, s3, 48)
}

/** One row of halves at `data`. */
export function ofHalves(data: usize, channels: i32, size: i32, scratch: usize, means: usize, squares: usize): void {
  for (let c = 0; c < channels; c += 8) {
    sumGroup(data, c, channels, size, true, scratch, means)
    sumSquares(size, scratch, means, squares)
    means += 64
    squares += 64
  }
}

/** One row of float32 at `data`. */
export function ofFloats(data: usize, channels: i32, size: i32, scratch: usize, means: usize, squares: usize): void {
  for (let c = 0; c < channels; c += 8) {
    sumGroup(data, c, channels, size, false, scratch, means)
    sumSquares(size, scratch, means, squares)
    means += 64
    squares += 64
  }
}
