/**
 * Chroma made as wide and as high as luma by the triangle filter that libjpeg (jdsample.c) and libwebp call "fancy
 * upsampling". Lines hold 16-bit values; they need LINE_SLACK bytes behind their last value.
 */

/**
 * `count` samples, three times the nearer row plus the farther one, with one value repeated at either end. `step`:
 * bytes from eight samples to the next eight.
 */
export function addRows(near: usize, far: usize, step: usize, to: usize, count: i32): void {
  const three = i16x8.splat(3)
  for (let i = 0; i < count; i += 8, near += step, far += step) {
    const a = v128.load8x8_u(near)
    const b = v128.load8x8_u(far)
    v128.store(to + (i << 1), i16x8.add(i16x8.mul(a, three), b))
  }
  repeatEnds(to, count)
}

/** One row as 16-bit values, with one value repeated at either end. */
export function widenRow(from: usize, to: usize, count: i32): void {
  for (let i = 0; i < count; i += 8) v128.store(to + (i << 1), v128.load8x8_u(from + i))
  repeatEnds(to, count)
}

function repeatEnds(line: usize, count: i32): void {
  store<u16>(line - 2, load<u16>(line))
  store<u16>(line + (count << 1), load<u16>(line + ((count - 1) << 1)))
}

/**
 * `count` values -> twice as many: three quarters of the nearer value and one of the other, less `offset`.
 * `even`, `odd`: what is added before the shift (libjpeg rounds to the left and to the right in turn).
 */
export function widenLine(
  from: usize,
  to: usize,
  count: i32,
  even: i32,
  odd: i32,
  shift: i32,
  offset: i32,
): void {
  const three = i16x8.splat(3)
  const middle = i16x8.splat(<i16>offset)
  const evenHalf = i16x8.splat(<i16>even)
  const oddHalf = i16x8.splat(<i16>odd)
  for (let i = 0; i < count; i += 8) {
    const at = from + (i << 1)
    const near = i16x8.mul(v128.load(at), three)
    const left = i16x8.shr_u(i16x8.add(i16x8.add(near, v128.load(at - 2)), evenHalf), shift)
    const right = i16x8.shr_u(i16x8.add(i16x8.add(near, v128.load(at + 2)), oddHalf), shift)
    const a = i16x8.sub(left, middle)
    const b = i16x8.sub(right, middle)
    v128.store(to + (i << 2), v128.shuffle<i16>(a, b, 0, 8, 1, 9, 2, 10, 3, 11))
    v128.store(to + (i << 2) + 16, v128.shuffle<i16>(a, b, 4, 12, 5, 13, 6, 14, 7, 15))
  }
}
