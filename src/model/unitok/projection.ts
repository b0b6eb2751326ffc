/**
 * What takes UniTok's tokens to the width of the codes and back: one Linear, or attention: proj(norm3(x)) +
 * attention(norm1(x)), then + mlp(norm2(x)). Downwards the heads' results are averaged, upwards they stand side by
 * side. Reference: FoundationVision/UniTok bb8012e, models/quant_proj (AttnProjection, PlainAttention).
 */
import type { Value } from '../../graph/builder.js'
import { activationWeight, addProduct, type Linear } from '../../graph/linear.js'
import type { ReadTensor } from '../../graph/read-tensor.js'
import { setLinear, setNorm } from '../blocks/layouts.js'
import {
  addGated,
  addLayerNorm,
  type LinearTensors,
  linearNamed,
  normNamed,
  registerLinear,
  registerNorm,
  type Transformer,
} from '../blocks/transformer.js'
import type { Shapes } from '../check-tensors.js'

/** LayerNorm's default; the network inside has its own norm with the blocks' 1e-6. */
const EPSILON = 1e-5

/** Registers the projection `base`; the function takes rows [N·L, from] to [N·L, to]. */
export function registerProjection(
  transformer: Transformer,
  base: string,
  read: ReadTensor,
  kind: 'linear' | 'attn',
  [from, to]: [number, number],
): (rows: Value, length: number) => Value {
  const { graph, precision } = transformer
  const product = (rows: Value, linear: Linear): Value => addProduct(graph, { values: rows }, linear)
  if (kind === 'linear') {
    const linear = registerLinear(transformer, base, [from, to], linearNamed(read, base))
    return (rows) => product(rows, linear)
  }
  const inner = Math.max(from, to)
  const heads = Math.max(1, Math.floor(inner / Math.min(from, to)))
  const size = inner / heads
  const wide = (dim: number, epsilon: number): Transformer => ({
    ...transformer,
    shape: { ...transformer.shape, dim, epsilon },
  })
  const norm = (name: string, dim: number): Value[] =>
    registerNorm(wide(dim, EPSILON), `${base}.${name}`, normNamed(read, `${base}.${name}`))
  const [norm1, norm3, norm2] = [norm('norm1', from), norm('norm3', from), norm('norm2', to)]
  const mlpNorm = registerNorm(wide(to, 1e-6), `${base}.mlp.norm`, normNamed(read, `${base}.mlp.norm`))
  const [q, k, v] = (['q_bias', undefined, 'v_bias'] as const).map((bias, at) => {
    const part: LinearTensors = {
      weight: async () => (await read(`${base}.attn.qkv.weight`)).slice(at * inner * from, (at + 1) * inner * from),
      bias: bias && (() => read(`${base}.attn.${bias}`)),
    }
    return registerLinear(transformer, `${base}.attn.${'qkv'[at]}`, [from, inner], part)
  })
  // Downwards: the mean over heads, and over neighbours where a head is wider than the result, as a product.
  const average =
    from > to
      ? activationWeight(graph, precision, `${base}.attn.average`, [inner, to], async () =>
          averageMatrix(heads, size, to),
        )
      : undefined
  const proj = registerLinear(transformer, `${base}.attn.proj`, [to, to], linearNamed(read, `${base}.attn.proj`))
  const around = registerLinear(transformer, `${base}.proj`, [from, to], linearNamed(read, `${base}.proj`))
  const [w0, w1] = ['w0', 'w1'].map((name) =>
    registerLinear(transformer, `${base}.mlp.${name}`, [to, 2 * to], linearNamed(read, `${base}.mlp.${name}`)),
  )
  const w2 = registerLinear(transformer, `${base}.mlp.w2`, [2 * to, to], linearNamed(read, `${base}.mlp.w2`))
  return (rows, length) => {
    const flat = graph.ints([-1, length, inner])
    const normed = addLayerNorm(wide(from, EPSILON), rows, norm1)
    const [query, key, value] = [q!, k!, v!].map((part) => graph.op('Reshape', [product(normed, part), flat]))
    const attended = graph.op(
      'MultiHeadAttention',
      [query!, key!, value!],
      { num_heads: heads, scale: { float: 1 / Math.sqrt(size) } },
      'com.microsoft',
    )
    const all = graph.op('Reshape', [attended, graph.ints([-1, inner])])
    const mixed = product(average ? graph.op('MatMul', [all, average]) : all, proj)
    const straight = product(addLayerNorm(wide(from, EPSILON), rows, norm3), around)
    const sum = graph.op('Add', [straight, mixed])
    const fed = addLayerNorm(wide(to, 1e-6), addLayerNorm(wide(to, EPSILON), sum, norm2), mlpNorm)
    const hidden = addGated(graph, 'geglu', product(fed, w0!), product(fed, w1!))
    return graph.op('Add', [sum, product(hidden, w2)])
  }
}

/** [heads·size, to]: the mean over heads of adaptive averages from `size` channels to `to`. */
function averageMatrix(heads: number, size: number, to: number): Float32Array {
  const out = new Float32Array(heads * size * to)
  for (let o = 0; o < to; o++) {
    const [first, end] = [Math.floor((o * size) / to), Math.ceil(((o + 1) * size) / to)]
    for (let head = 0; head < heads; head++)
      for (let c = first; c < end; c++) out[(head * size + c) * to + o] = 1 / (heads * (end - first))
  }
  return out
}

/** Shapes of its tensors. */
export function setProjection(out: Shapes, base: string, kind: 'linear' | 'attn', from: number, to: number): void {
  if (kind === 'linear') {
    setLinear(out, base, to, from)
    return
  }
  const inner = Math.max(from, to)
  setNorm(out, `${base}.norm1`, from)
  setNorm(out, `${base}.norm3`, from)
  setNorm(out, `${base}.norm2`, to)
  setNorm(out, `${base}.mlp.norm`, to)
  out.set(`${base}.attn.qkv.weight`, [3 * inner, from])
  out.set(`${base}.attn.q_bias`, [inner])
  out.set(`${base}.attn.v_bias`, [inner])
  setLinear(out, `${base}.attn.proj`, to, to)
  setLinear(out, `${base}.proj`, to, from)
  setLinear(out, `${base}.mlp.w0`, 2 * to, to)
  setLinear(out, `${base}.mlp.w1`, 2 * to, to)
  setLinear(out, `${base}.mlp.w2`, to, 2 * to)
}
