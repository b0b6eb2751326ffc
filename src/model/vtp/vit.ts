/**
 * The transformer blocks that the vision tower and the pixel decoder share, as fused ONNX Runtime
 * operators. Tokens travel as one matrix [N·L, D]; residual additions and the bias before them ride on
 * the following norm (SkipSimplifiedLayerNormalization / SkipLayerNormalization); the bias of v and
 * LayerScale are folded into the attention projection, LayerScale of the second branch into the last
 * feed-forward product. Reference: vtp/models/layers/{block,attention,ffn}.py.
 */

import type { GraphBuilder, Value } from '../../graph/builder.js'
import {
  activationWeight,
  addProduct,
  type Linear,
  linear,
  prepareRows,
  type Rows,
  roundSimulated,
  toBf16,
} from '../../graph/linear.js'
import { findLoudChannels, isLoud, type LoudChannels } from '../../graph/loud.js'
import { activationDtype, type Precision, roundsRotation } from '../../graph/precision.js'
import type { ReadTensor } from '../../graph/read-tensor.js'
import { transpose } from '../../graph/transpose.js'
import { type Balance, balanced, blockBalance } from './balance.js'
import { normEpsilon } from './config.js'
import { type RopeTables, ropeTables } from './rope.js'
import type { VitShape } from './tensors.js'

const MS = 'com.microsoft'
const QK_NORM_EPSILON = 1e-5

function scaleRows(matrix: Float32Array, rows: number, scale: Float32Array): Float32Array {
  const columns = matrix.length / rows
  const out = new Float32Array(matrix.length)
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < columns; c++) out[r * columns + c] = matrix[r * columns + c]! * scale[r]!
  return out
}

/** What the parts of one tower share while its graph is built. */
export interface Tower {
  graph: GraphBuilder
  read: ReadTensor
  shape: VitShape
  precision: Precision
  /** Of every block; empty but in int8. */
  loud: LoudChannels[]
}

/** What the parts of a tower share. */
export async function openTower(
  graph: GraphBuilder,
  read: ReadTensor,
  shape: VitShape,
  precision: Precision,
): Promise<Tower> {
  return { graph, read, shape, precision, loud: precision === 'int8' ? await findLoudChannels(read, shape) : [] }
}

/** A block's weights in the graph. */
interface BlockWeights {
  /** Of this block's products. */
  products: Precision
  loud?: LoudChannels
  norm1: Value[]
  norm2: Value[]
  q: Linear
  k: Linear
  v: Linear
  proj: Linear
  /** Projection bias with the bias of v and LayerScale folded in. */
  projBias: Value
  qNorm?: Value
  kNorm?: Value
  /** First feed-forward products: [w1, w2] of a SwiGLU or [fc1] of an MLP. */
  up: Linear[]
  down: Linear
  downBias: Value
}

/** Registers a norm's weight (and bias), each channel divided by `balance` where there is one. */
export function normWeights(tower: Tower, name: string, balance?: Balance): Value[] {
  const { graph, read, shape, precision } = tower
  const vector = (part: 'weight' | 'bias'): Value =>
    activationWeight(graph, precision, `${name}.${part}`, [shape.dim], async () => {
      const [values, divisor] = await Promise.all([read(`${name}.${part}`), balance?.()])
      return divisor ? values.map((value, i) => value / divisor[i]!) : values
    })
  return shape.norm === 'rmsnorm' ? [vector('weight')] : [vector('weight'), vector('bias')]
}

/** Registers the weights of block `index` in a fixed order: the blob's layout depends on nothing but the model. */
export function blockWeights(tower: Tower, index: number): BlockWeights {
  const { graph, read, shape, precision } = tower
  const { dim, ffnWidth } = shape
  const base = `${shape.prefix}.blocks.${index}`
  const gamma = async (which: 'ls1' | 'ls2'): Promise<Float32Array | undefined> =>
    shape.layerScale ? read(`${base}.${which}.gamma`) : undefined
  // The first block's errors pass through all others: where channels are loud its products stay in floating point.
  const products = index === 0 && isLoud(tower.loud[index]) ? 'fp32' : precision
  const loud = products === 'int8' ? tower.loud[index] : undefined
  // In floating point channels need no balancing.
  const balance = products === 'int8' ? blockBalance(read, shape, base, loud) : undefined

  const norm1 = normWeights(tower, `${base}.norm1`, balance?.norm1)
  const part = (name: 'q' | 'k' | 'v', at: number): Linear =>
    linear(graph, products, {
      name: `${base}.attn.${name}`,
      inner: dim,
      outer: dim,
      loud: loud?.norm1,
      weight: async () => {
        const qkv = await read(`${base}.attn.qkv.weight`) // [3D, D]
        const matrix = transpose(qkv.subarray(at * dim * dim, (at + 1) * dim * dim), dim, dim)
        return balanced(matrix, balance?.norm1, name === 'v' ? balance?.values : undefined)
      },
      bias:
        name === 'v' ? undefined : async () => (await read(`${base}.attn.qkv.bias`)).slice(at * dim, (at + 1) * dim),
    })
  const q = part('q', 0)
  const k = part('k', 1)
  const v = part('v', 2)
  const d = dim / shape.heads
  const qkNorm = shape.qkNorm
    ? (['q_norm', 'k_norm'] as const).map((n) =>
        activationWeight(graph, precision, `${base}.attn.${n}.weight`, [d], () => read(`${base}.attn.${n}.weight`)),
      )
    : []

  const scaled = async (name: string, rows: number, which: 'ls1' | 'ls2'): Promise<Float32Array> => {
    const [matrix, scale] = await Promise.all([read(name), gamma(which)])
    return scale ? scaleRows(matrix, rows, scale) : matrix
  }
  const proj = linear(graph, products, {
    name: `${base}.attn.proj`,
    inner: dim,
    outer: dim,
    weight: async () =>
      balanced(transpose(await scaled(`${base}.attn.proj.weight`, dim, 'ls1'), dim, dim), balance?.values),
  })
  const projBias = activationWeight(graph, precision, `${base}.attn.proj.bias`, [dim], async () => {
    // softmax rows add up to 1: attention(v + b) = attention(v) + b, and b goes through the projection.
    const matrix = await read(`${base}.attn.proj.weight`)
    const vBias = (await read(`${base}.attn.qkv.bias`)).subarray(2 * dim)
    const bias = await read(`${base}.attn.proj.bias`)
    const scale = await gamma('ls1')
    return bias.map((b, r) => {
      let sum = b
      for (let c = 0; c < dim; c++) sum += matrix[r * dim + c]! * vBias[c]!
      return scale ? sum * scale[r]! : sum
    })
  })

  const norm2 = normWeights(tower, `${base}.norm2`, balance?.norm2)
  const upNames = shape.ffn === 'mlp' ? ['fc1'] : ['w1', 'w2']
  const downName = shape.ffn === 'mlp' ? 'fc2' : 'w3'
  const up = upNames.map((name) => {
    const columns = name === 'w2' ? balance?.hidden : undefined
    return linear(graph, products, {
      name: `${base}.mlp.${name}`,
      inner: dim,
      outer: ffnWidth,
      loud: loud?.norm2,
      weight: async () =>
        balanced(transpose(await read(`${base}.mlp.${name}.weight`), ffnWidth, dim), balance?.norm2, columns),
      bias: async () => balanced(await read(`${base}.mlp.${name}.bias`), undefined, columns),
    })
  })
  const down = linear(graph, products, {
    name: `${base}.mlp.${downName}`,
    inner: ffnWidth,
    outer: dim,
    weight: async () =>
      balanced(transpose(await scaled(`${base}.mlp.${downName}.weight`, dim, 'ls2'), dim, ffnWidth), balance?.hidden),
  })
  const downBias = activationWeight(graph, precision, `${base}.mlp.${downName}.bias`, [dim], () =>
    scaled(`${base}.mlp.${downName}.bias`, dim, 'ls2'),
  )
  return {
    products,
    loud,
    norm1,
    norm2,
    q,
    k,
    v,
    proj,
    projBias,
    qNorm: qkNorm[0],
    kNorm: qkNorm[1],
    up,
    down,
    downBias,
  }
}

/** A norm over the last axis. */
export function addNorm({ graph, shape }: Tower, x: Value, weights: Value[]): Value {
  const epsilon = { float: normEpsilon(shape.norm) }
  if (shape.norm === 'rmsnorm') return graph.op('SimplifiedLayerNormalization', [x, ...weights], { axis: -1, epsilon })
  return graph.op('LayerNormalization', [x, ...weights], { axis: -1, epsilon })
}

/** residual + branch + bias, and its norm: [sum, norm(sum)]. */
function addSkipNorm(
  { graph, shape, precision }: Tower,
  branch: Value,
  residual: Value,
  bias: Value,
  norm: Value[],
): { sum: Value; normed: Value } {
  const type = shape.norm === 'rmsnorm' ? 'SkipSimplifiedLayerNormalization' : 'SkipLayerNormalization'
  const epsilon = { float: normEpsilon(shape.norm) }
  const wanted = [true, false, false, true]
  const outputs = graph.ops(type, [branch, residual, ...norm, bias], 4, { epsilon }, MS, wanted)
  // The encoder's residual is float32 under autocast, from its cls token on, and so it is behind a LayerScale.
  const keepsFloat = shape.prefix === 'trunk' || shape.layerScale
  return { normed: outputs[0]!, sum: keepsFloat ? outputs[3]! : roundSimulated(graph, precision, outputs[3]!) }
}

/** Rotation tables as graph constants. A leading cls token has cos 1 and sin 0: it is rounded, not rotated. */
export interface RopeConstants {
  /** [L, 1, d] for tokens viewed as [N, L, H, d]; only where the rotation rounds step by step. */
  cos?: Value
  /** Cache of `RotaryEmbedding`, [L, d/2]: cos, or zeros where the rotation rounds step by step. */
  cosCache: Value
  /** Cache of `RotaryEmbedding`: sin, [L, d/2]. */
  sin: Value
  positions: Value
  length: number
}

export async function addRopeConstants(
  { graph, read, shape, precision }: Tower,
  grid: { h: number; w: number },
  cls: boolean,
): Promise<RopeConstants> {
  const periods = await read(`${shape.prefix}.rope_embed.periods`)
  const tables: RopeTables = ropeTables(periods, grid.h, grid.w)
  const d = periods.length * 4
  const lead = cls ? 1 : 0
  const length = grid.h * grid.w + lead
  const half = d / 2
  const cos = new Float32Array(length * d).fill(1, 0, lead * d)
  cos.set(tables.cos, lead * d)
  const sin = new Float32Array(length * half)
  for (let t = 0; t < grid.h * grid.w; t++) {
    // Both halves of a row are equal.
    sin.set(tables.sin.subarray(t * d, t * d + half), (t + lead) * half)
  }
  const positions = graph.constant([0], [1], 'int64')
  const dtype = activationDtype(precision)
  if (!roundsRotation(precision)) {
    const firstHalves = new Float32Array(length * half)
    for (let t = 0; t < length; t++) firstHalves.set(cos.subarray(t * d, t * d + half), t * half)
    const cache = graph.constant(firstHalves, [length, half], dtype)
    return { cosCache: cache, sin: graph.constant(sin, [length, half], dtype), positions, length }
  }
  return {
    cos: graph.constant(cos, [length, 1, d]),
    cosCache: graph.constant(new Float32Array(length * half), [length, half]),
    sin: graph.constant(sin, [length, half]),
    positions,
    length,
  }
}

/**
 * q or k [N·L, D] → rotated [N, L, D], in the reference's arithmetic:
 * bf16(bf16(x cos) + bf16(rotate_half(x) sin)) of x rounded to bf16.
 * `RotaryEmbedding` with cos = 0 gives rotate_half(x) · sin in one pass.
 */
function addRope(tower: Tower, x: Value, rope: RopeConstants, norm: Value | undefined): Value {
  const { graph, shape } = tower
  const { dim, heads } = shape
  const d = dim / heads
  const byHead = graph.ints([-1, rope.length, heads, d])
  const flat = graph.ints([-1, rope.length, dim])
  let value = graph.op('Reshape', [x, byHead]) // [N, L, H, d]
  if (norm)
    value = graph.op('SimplifiedLayerNormalization', [value, norm], { axis: -1, epsilon: { float: QK_NORM_EPSILON } })
  const rotate = (tokens: Value): Value =>
    graph.op('RotaryEmbedding', [tokens, rope.positions, rope.cosCache, rope.sin], { num_heads: heads }, MS)
  if (!rope.cos) return rotate(graph.op('Reshape', [value, flat]))
  const rounded = toBf16(graph, value)
  const straight = toBf16(graph, graph.op('Mul', [rounded, rope.cos]))
  const turned = rotate(graph.op('Reshape', [rounded, flat])) // [N, L, D]
  const sum = graph.op('Add', [graph.op('Reshape', [straight, flat]), toBf16(graph, turned)])
  return toBf16(graph, sum)
}

/** Residual stream after some block, and its norm by whatever follows. */
export interface Stream {
  sum: Value
  normed: Value
}

/**
 * One block. `stream.normed` is norm1 of the residual; `nextNorm` are the weights of what follows (norm1 of
 * the next block or the final norm).
 */
export function addBlock(
  tower: Tower,
  weights: BlockWeights,
  rope: RopeConstants,
  stream: Stream,
  nextNorm: Value[],
): Stream {
  const { graph, shape, precision } = tower
  const { dim, heads } = shape
  const flat = graph.ints([-1, rope.length, dim])
  const product = (x: Rows, weight: Linear): Value => roundSimulated(graph, precision, addProduct(graph, x, weight))
  const normed = prepareRows(graph, weights.products, stream.normed, weights.loud?.norm1)
  const q = addRope(tower, product(normed, weights.q), rope, weights.qNorm)
  const k = addRope(tower, product(normed, weights.k), rope, weights.kNorm)
  const v = graph.op('Reshape', [product(normed, weights.v), flat])
  const attended = graph.op(
    'MultiHeadAttention',
    [q, k, v],
    { num_heads: heads, scale: { float: 1 / Math.sqrt(dim / heads) } },
    MS,
  )
  const rows = prepareRows(graph, weights.products, graph.op('Reshape', [attended, graph.ints([-1, dim])]))
  const middle = addSkipNorm(tower, product(rows, weights.proj), stream.sum, weights.projBias, weights.norm2)

  const fed = prepareRows(graph, weights.products, middle.normed, weights.loud?.norm2)
  const [first, second] = weights.up.map((weight) => product(fed, weight))
  const hidden = second
    ? graph.op('Mul', [graph.op('QuickGelu', [first!], { alpha: { float: 1 } }, MS), second])
    : graph.op('Gelu', [first!], {}, MS)
  const down = product(prepareRows(graph, weights.products, hidden), weights.down)
  return addSkipNorm(tower, down, middle.sum, weights.downBias, nextNorm)
}
