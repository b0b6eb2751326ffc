/** Gradients of matrix products, attention and rotary embedding, as products of the same kind. */
import type { Dim } from '../dims.js'
import type { Value } from '../value.js'
import { MS } from './arithmetic.js'
import type { Backward, GradientRule, GradientTable } from './rule.js'

/** Y = alpha · A' B' + beta · C, with A' = A or Aᵀ. */
const gemm: GradientRule = (back) => {
  const [a, b, d] = [back.x(0), back.x(1), back.d]
  const [alpha, beta] = [back.float('alpha', 1), back.float('beta', 1)]
  const [ta, tb] = [back.int('transA', 0) === 1, back.int('transB', 0) === 1]
  const product = (x: Value, y: Value, transA: boolean, transB: boolean): Value =>
    back.op('Gemm', [x, y], {
      ...(transA && { transA: 1 }),
      ...(transB && { transB: 1 }),
      ...(alpha !== 1 && { alpha: { float: alpha } }),
    })
  const bias = back.node.inputs[2]
  return [
    back.needs(0) ? (ta ? product(b, d, tb, true) : product(d, b, false, !tb)) : undefined,
    back.needs(1) ? (tb ? product(d, a, true, ta) : product(a, d, !ta, false)) : undefined,
    bias && back.needs(2) ? back.sumTo(back.scale(d, beta), bias) : undefined,
  ]
}

const fused = (back: Backward, a: Value, b: Value, transA: boolean, transB: boolean, alpha = 1): Value =>
  back.op(
    'FusedMatMul',
    [a, b],
    { ...(transA && { transA: 1 }), ...(transB && { transB: 1 }), ...(alpha !== 1 && { alpha: { float: alpha } }) },
    MS,
  )

/** Rows of a stack of matrices as one matrix. */
const rowsOf = (back: Backward, x: Value): Value => {
  const inner = x.shape.at(-1)!
  const known = typeof inner === 'number' ? inner : back.refuse('of rows of unknown length is not supported')
  return x.shape.length === 2 ? x : back.op('Reshape', [x, back.ints([-1, known])])
}

/** Products of stacks of matrices, with or without transposition. */
const matMul: GradientRule = (back) => {
  const [a, b, d] = [back.x(0), back.x(1), back.d]
  if (a.shape.length < 2 || b.shape.length < 2) back.refuse('of vectors is not supported')
  const [ta, tb] = [back.int('transA', 0) === 1, back.int('transB', 0) === 1]
  const alpha = back.float('alpha', 1)
  const forA = (): Value => (ta ? fused(back, b, d, tb, true, alpha) : fused(back, d, b, false, !tb, alpha))
  const forB = (): Value => {
    // One matrix for a whole stack: the sum over the stack is a product of all its rows.
    if (b.shape.length === 2 && !ta) {
      const [rows, slopes] = [rowsOf(back, a), rowsOf(back, d)]
      const [left, right] = tb ? [slopes, rows] : [rows, slopes]
      return back.op('Gemm', [left, right], { transA: 1, ...(alpha !== 1 && { alpha: { float: alpha } }) })
    }
    return tb ? fused(back, d, a, true, ta, alpha) : fused(back, a, d, !ta, false, alpha)
  }
  return [back.needs(0) ? back.sumTo(forA(), a) : undefined, back.needs(1) ? back.sumTo(forB(), b) : undefined]
}

/** Below every score: nothing is left of it behind a softmax. */
const MASKED = -1e30

/** 0 where a query may look, far below 0 behind its own place. */
function causalMask(back: Backward, queries: Dim, keys: Dim): Value {
  if (typeof queries !== 'number' || typeof keys !== 'number') return back.refuse('with a mask needs known lengths')
  const mask = new Float32Array(queries * keys)
  for (let q = 0; q < queries; q++) mask.fill(MASKED, q * keys + Math.min(keys, q + 1 + keys - queries), (q + 1) * keys)
  return back.graph.constant(mask, [queries, keys], back.d.dtype as 'float32')
}

/** O = P V, P = softmax(scale · Q Kᵀ + mask): dS = P ∘ (dO Vᵀ − rowsum(dO ∘ O)). P is computed again, not kept. */
const attention: GradientRule = (back) => {
  const [q, k, v, d] = [back.x(0), back.x(1), back.x(2), back.d]
  const [, , , bias, padding, scoreBias] = back.node.inputs
  if (bias || padding || back.node.inputs.length > 6) back.refuse('with a bias, padding or past keys is not supported')
  if (scoreBias && back.needs(5)) back.refuse('does not give the gradient of its attention bias')
  const heads = back.int('num_heads', 1)
  const width = q.shape[2]
  if (typeof width !== 'number') return back.refuse('of rows of unknown length is not supported')
  const scale = back.float('scale', 0) || 1 / Math.sqrt(width / heads)
  const byHead = (x: Value): Value => {
    const [n, l, size] = x.shape as [Dim, Dim, number]
    return back.transpose(back.reshape(x, [n, l, heads, size / heads]), [0, 2, 1, 3]) // [N, H, L, d]
  }
  const flat = (x: Value, like: Value): Value => back.reshape(back.transpose(x, [0, 2, 1, 3]), like.shape)
  const [Q, K, V, D] = [byHead(q), byHead(k), byHead(v), byHead(d)]
  let scores = fused(back, Q, K, false, true, scale) // [N, H, Lq, Lk]
  if (scoreBias) scores = back.add(scores, scoreBias)
  if (back.int('unidirectional', 0)) scores = back.add(scores, causalMask(back, q.shape[1]!, k.shape[1]!))
  const p = back.op('Softmax', [scores], { axis: -1 })
  const dP = fused(back, D, V, false, true)
  const [n, l, size] = d.shape as [Dim, Dim, number]
  const overWidth = (): Value => {
    const perHead = back.reshape(back.mul(d, back.y()), [n, l, heads, size / heads])
    return back.transpose(back.sum(perHead, [3]), [0, 2, 1, 3])
  }
  // The same sum over keys is exactly dP where a query sees one key, as the first of a causal row does: dS is 0 there,
  // not a rounding error that AdamW would make a step of.
  const dots = back.int('unidirectional', 0) ? back.sum(back.mul(p, dP), [3]) : overWidth() // [N, H, Lq, 1]
  const dS = back.mul(p, back.sub(dP, dots))
  return [
    back.needs(0) ? flat(fused(back, dS, K, false, false, scale), q) : undefined,
    back.needs(1) ? flat(fused(back, dS, Q, true, false, scale), k) : undefined,
    back.needs(2) ? flat(fused(back, p, D, true, false), v) : undefined,
  ]
}

/** A rotation back: the same tables with −sin. It is linear in x for any tables. */
const rotary: GradientRule = (back) => {
  if (back.needs(2) || back.needs(3)) back.refuse('does not give the gradients of its tables')
  const [, positions, cos, sin] = back.node.inputs
  return [back.op('RotaryEmbedding', [back.d, positions, cos, back.neg(sin!)], back.node.attributes, MS)]
}

export const PRODUCT_GRADIENTS: GradientTable = {
  ':Gemm': gemm,
  ':MatMul': matMul,
  [`${MS}:FusedMatMul`]: matMul,
  [`${MS}:MultiHeadAttention`]: attention,
  [`${MS}:RotaryEmbedding`]: rotary,
}
