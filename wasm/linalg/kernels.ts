/**
 * The inner loops of the Cholesky factorisation and of the reduction to tridiagonal form, two float64 at a time.
 *
 * Matrices are row-major; `stride` is the distance of rows in bytes. Rows are taken four at a time, so that a
 * vector's elements are loaded once for four rows: what limits these loops is memory.
 */

/** x − (u·q' + q·u'), two columns of one row. */
@inline
function updated(at: usize, u: v128, qk: v128, q: v128, uk: v128): v128 {
  const x = f64x2.sub(v128.load(at), f64x2.add(f64x2.mul(u, qk), f64x2.mul(q, uk)))
  v128.store(at, x)
  return x
}

@inline
function addProduct(sum: v128, a: v128, b: v128): v128 {
  return f64x2.add(sum, f64x2.mul(a, b))
}

/** (a0 + a1, b0 + b1) */
@inline
function sums(a: v128, b: v128): v128 {
  return f64x2.add(v128.shuffle<i64>(a, b, 0, 2), v128.shuffle<i64>(a, b, 1, 3))
}

/**
 * One step of the reduction, in one pass over the lower triangle of a symmetric matrix of `rows` rows (a multiple
 * of 4): A −= u qᵀ + q uᵀ, then p += A v. The blocks of 4 × 4 on the diagonal are whole, so that no loop ends
 * inside one.
 */
export function updateAndMultiply(
  a: usize,
  stride: usize,
  rows: i32,
  u: usize,
  q: usize,
  v: usize,
  p: usize,
): void {
  // `row` and `k` count bytes of a vector.
  let row: usize = 0
  do {
    let a0 = a
    let a1 = a0 + stride
    let a2 = a1 + stride
    let a3 = a2 + stride
    const v0 = v128.load_splat<i64>(v + row)
    const v1 = v128.load_splat<i64>(v + row, 8)
    const v2 = v128.load_splat<i64>(v + row, 16)
    const v3 = v128.load_splat<i64>(v + row, 24)
    const u0 = v128.load_splat<i64>(u + row)
    const u1 = v128.load_splat<i64>(u + row, 8)
    const u2 = v128.load_splat<i64>(u + row, 16)
    const u3 = v128.load_splat<i64>(u + row, 24)
    const q0 = v128.load_splat<i64>(q + row)
    const q1 = v128.load_splat<i64>(q + row, 8)
    const q2 = v128.load_splat<i64>(q + row, 16)
    const q3 = v128.load_splat<i64>(q + row, 24)
    let s0 = f64x2.splat(0)
    let s1 = f64x2.splat(0)
    let s2 = f64x2.splat(0)
    let s3 = f64x2.splat(0)
    let k: usize = 0
    // Left of the diagonal block: an element stands for its mirror image, too, so it also adds to p[k].
    for (; k < row; k += 16) {
      const vk = v128.load(v + k)
      const uk = v128.load(u + k)
      const qk = v128.load(q + k)
      let sum = v128.load(p + k)
      let x = updated(a0, u0, qk, q0, uk)
      s0 = addProduct(s0, x, vk)
      sum = addProduct(sum, x, v0)
      x = updated(a1, u1, qk, q1, uk)
      s1 = addProduct(s1, x, vk)
      sum = addProduct(sum, x, v1)
      x = updated(a2, u2, qk, q2, uk)
      s2 = addProduct(s2, x, vk)
      sum = addProduct(sum, x, v2)
      x = updated(a3, u3, qk, q3, uk)
      s3 = addProduct(s3, x, vk)
      sum = addProduct(sum, x, v3)
      v128.store(p + k, sum)
      a0 += 16
      a1 += 16
      a2 += 16
      a3 += 16
    }
    const end = row + 32
    do {
      const vk = v128.load(v + k)
      const uk = v128.load(u + k)
      const qk = v128.load(q + k)
      s0 = addProduct(s0, updated(a0, u0, qk, q0, uk), vk)
      s1 = addProduct(s1, updated(a1, u1, qk, q1, uk), vk)
      s2 = addProduct(s2, updated(a2, u2, qk, q2, uk), vk)
      s3 = addProduct(s3, updated(a3, u3, qk, q3, uk), vk)
      a0 += 16
      a1 += 16
      a2 += 16
      a3 += 16
      k += 16
    } while (k < end)
    v128.store(p + row, f64x2.add(v128.load(p + row), sums(s0, s1)))
    v128.store(p + row, f64x2.add(v128.load(p + row, 16), sums(s2, s3)), 16)
    a += stride << 2
    row += 32
    rows -= 4
  } while (rows)
}

/** y = A x over the first `length` columns (a multiple of 2) of `rows` rows (a multiple of 4). */
export function multiply(a: usize, stride: usize, rows: i32, x: usize, length: i32, y: usize): void {
  const end = x + ((<usize>length) << 3)
  do {
    let a0 = a
    let a1 = a0 + stride
    let a2 = a1 + stride
    let a3 = a2 + stride
    let s0 = f64x2.splat(0)
    let s1 = f64x2.splat(0)
    let s2 = f64x2.splat(0)
    let s3 = f64x2.splat(0)
    for (let k = x; k < end; k += 16) {
      const xk = v128.load(k)
      s0 = addProduct(s0, v128.load(a0), xk)
      s1 = addProduct(s1, v128.load(a1), xk)
      s2 = addProduct(s2, v128.load(a2), xk)
      s3 = addProduct(s3, v128.load(a3), xk)
      a0 += 16
      a1 += 16
      a2 += 16
      a3 += 16
    }
    v128.store(y, sums(s0, s1))
    v128.store(y, sums(s2, s3), 16)
    y += 32
    a += stride << 2
    rows -= 4
  } while (rows)
}
