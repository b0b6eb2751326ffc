/**
 * One step of AdamW and of the moving average over a block of parameters, four at a time (WebAssembly SIMD). Each
 * array of a block has its place in memory, `stride` bytes apart: gradient, first moment, second moment, parameter,
 * average. The order of operations is torch.optim.adamw's (_single_tensor_adamw), rounding for rounding in float32.
 */

/** Updates `count` elements (a multiple of four; what is behind the real ones may hold anything finite). */
export function update(
  stride: usize,
  count: i32,
  gradientScale: f32,
  oneMinusBeta1: f32,
  beta2: f32,
  oneMinusBeta2: f32,
  root: f32,
  epsilon: f32,
  stepSize: f32,
  keep: f32,
  emaDecay: f32,
  oneMinusDecay: f32,
): void {
  const scale = f32x4.splat(gradientScale)
  const toM = f32x4.splat(oneMinusBeta1)
  const keepV = f32x4.splat(beta2)
  const toV = f32x4.splat(oneMinusBeta2)
  const roots = f32x4.splat(root)
  const small = f32x4.splat(epsilon)
  const size = f32x4.splat(stepSize)
  const decay = f32x4.splat(keep)
  const keepE = f32x4.splat(emaDecay)
  const toE = f32x4.splat(oneMinusDecay)
  const end = <usize>count * 4
  for (let at: usize = 0; at < end; at += 16) {
    const g = f32x4.mul(v128.load(at), scale)
    let m = v128.load(at + stride)
    m = f32x4.add(m, f32x4.mul(f32x4.sub(g, m), toM))
    v128.store(at + stride, m)
    let v = v128.load(at + 2 * stride)
    v = f32x4.add(f32x4.mul(v, keepV), f32x4.mul(f32x4.mul(g, g), toV))
    v128.store(at + 2 * stride, v)
    const denominator = f32x4.add(f32x4.div(f32x4.sqrt(v), roots), small)
    let w = f32x4.mul(v128.load(at + 3 * stride), decay)
    w = f32x4.sub(w, f32x4.mul(f32x4.div(m, denominator), size))
    v128.store(at + 3 * stride, w)
    const e = f32x4.add(f32x4.mul(v128.load(at + 4 * stride), keepE), f32x4.mul(w, toE))
    v128.store(at + 4 * stride, e)
  }
}

/** The sum of squares of the first array's `count` elements, in float64; two partial sums, always in the same order. */
export function sumOfSquares(count: i32): f64 {
  let sums = f64x2.splat(0)
  const end = <usize>count * 4
  let at: usize = 0
  for (; at + 16 <= end; at += 16) {
    const g = v128.load(at)
    const low = f64x2.promote_low_f32x4(g)
    const high = f64x2.promote_low_f32x4(v128.shuffle<i64>(g, g, 1, 0))
    sums = f64x2.add(sums, f64x2.mul(low, low))
    sums = f64x2.add(sums, f64x2.mul(high, high))
  }
  let total = f64x2.extract_lane(sums, 0) + f64x2.extract_lane(sums, 1)
  for (; at < end; at += 4) {
    const g = <f64>load<f32>(at)
    total += g * g
  }
  return total
}
