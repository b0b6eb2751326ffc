/** Prediction of a lossless picture's pixels from those above and to the left (RFC 9649, section 4.1). */

const OPAQUE: u32 = 0xff000000

/** Sums of the bytes of two pixels. */
@inline
function sum(a: u32, b: u32): u32 {
  return (((a & 0xff00ff00) + (b & 0xff00ff00)) & 0xff00ff00) | (((a & 0xff00ff) + (b & 0xff00ff)) & 0xff00ff)
}

/** Means of the bytes of two pixels, rounded down. */
@inline
function mean(a: u32, b: u32): u32 {
  return (((a ^ b) & 0xfefefefe) >> 1) + (a & b)
}

@inline
function meansOf(a: v128, b: v128): v128 {
  return i8x16.sub(i8x16.avgr_u(a, b), v128.and(v128.xor(a, b), i8x16.splat(1)))
}

@inline
function widened(pixel: u32): v128 {
  return i16x8.extend_low_i8x16_u(i32x4.splat(pixel))
}

@inline
function narrowed(values: v128): u32 {
  return i32x4.extract_lane(i8x16.narrow_i16x8_u(values, values), 0)
}

/** Whichever of `above` and `left` is nearer to left + above - corner, all bytes together. */
@inline
function select(above: u32, left: u32, corner: u32): u32 {
  const c = widened(corner)
  const byLeft = i16x8.abs(i16x8.sub(widened(left), c))
  const byAbove = i16x8.abs(i16x8.sub(widened(above), c))
  const sums = i32x4.extadd_pairwise_i16x8_s(i16x8.sub(byLeft, byAbove))
  return i32x4.extract_lane(sums, 0) + i32x4.extract_lane(sums, 1) <= 0 ? above : left
}

@inline
function gradient(left: u32, above: u32, corner: u32): u32 {
  return narrowed(i16x8.sub(i16x8.add(widened(left), widened(above)), widened(corner)))
}

/** The mean of left and above, and half of what it differs from the corner by. */
@inline
function halfGradient(left: u32, above: u32, corner: u32): u32 {
  const middle = widened(mean(left, above))
  const difference = i16x8.sub(middle, widened(corner))
  // Halves are cut off towards 0.
  const half = i16x8.shr_s(i16x8.add(difference, i16x8.shr_u(difference, 15)), 1)
  return narrowed(i16x8.add(middle, half))
}

/**
 * One row of residuals -> pixels. `above`: the row before; both have room for a pixel behind their last. `squares`:
 * modes of this row's squares of 1 << `log2` pixels.
 */
export function predictRow(
  from: usize,
  to: usize,
  above: usize,
  width: i32,
  y: i32,
  log2: i32,
  squares: usize,
): void {
  store<u32>(to, sum(load<u32>(from), y == 0 ? OPAQUE : load<u32>(above)))
  if (y == 0) {
    predictPart(1, from, to, above, 1, width)
    return
  }
  // To the upper right of the last pixel lies the first one of this row.
  store<u32>(above + (width << 2), load<u32>(to))
  for (let x = 0; x < width; x += 1 << log2, squares += 4) {
    const mode = <i32>((load<u32>(squares) >> 8) & 15)
    predictPart(mode, from, to, above, max(x, 1), min(x + (1 << log2), width))
  }
}

function predictPart(mode: i32, from: usize, to: usize, above: usize, begin: i32, end: i32): void {
  const last = to + (end << 2)
  from += begin << 2
  above += begin << 2
  to += begin << 2
  // Modes that look only above take four pixels at a time; what is written behind the end is written again.
  if (mode == 0 || mode > 13) {
    const opaque = i32x4.splat(OPAQUE)
    for (; to < last; to += 16, from += 16) v128.store(to, i8x16.add(v128.load(from), opaque))
    return
  }
  if (mode == 2 || mode == 3 || mode == 4) {
    above += mode == 2 ? 0 : mode == 3 ? 4 : -4
    for (; to < last; to += 16, from += 16, above += 16) v128.store(to, i8x16.add(v128.load(from), v128.load(above)))
    return
  }
  if (mode == 8 || mode == 9) {
    const first = mode == 8 ? above - 4 : above
    for (let i: usize = 0; to + i < last; i += 16) {
      const means = meansOf(v128.load(first + i), v128.load(first + i, 4))
      v128.store(to + i, i8x16.add(v128.load(from + i), means))
    }
    return
  }
  let left = load<u32>(to - 4)
  if (mode == 1) {
    for (; to < last; to += 4, from += 4) {
      left = sum(load<u32>(from), left)
      store<u32>(to, left)
    }
    return
  }
  if (mode == 5) {
    for (; to < last; to += 4, from += 4, above += 4) {
      left = sum(load<u32>(from), mean(mean(left, load<u32>(above, 4)), load<u32>(above)))
      store<u32>(to, left)
    }
    return
  }
  if (mode == 6 || mode == 7) {
    if (mode == 6) above -= 4
    for (; to < last; to += 4, from += 4, above += 4) {
      left = sum(load<u32>(from), mean(left, load<u32>(above)))
      store<u32>(to, left)
    }
    return
  }
  if (mode == 10) {
    for (; to < last; to += 4, from += 4, above += 4) {
      const corners = mean(left, load<u32>(above - 4))
      left = sum(load<u32>(from), mean(corners, mean(load<u32>(above), load<u32>(above, 4))))
      store<u32>(to, left)
    }
    return
  }
  if (mode == 11) {
    for (; to < last; to += 4, from += 4, above += 4) {
      left = sum(load<u32>(from), select(load<u32>(above), left, load<u32>(above - 4)))
      store<u32>(to, left)
    }
    return
  }
  if (mode == 12) {
    for (; to < last; to += 4, from += 4, above += 4) {
      left = sum(load<u32>(from), gradient(left, load<u32>(above), load<u32>(above - 4)))
      store<u32>(to, left)
    }
    return
  }
  for (; to < last; to += 4, from += 4, above += 4) {
    left = sum(load<u32>(from), halfGradient(left, load<u32>(above), load<u32>(above - 4)))
    store<u32>(to, left)
  }
}
