/** Matrix products, attention and rotary embedding. */
import type { Dim, Shape } from '../dims.js'
import {
  broadcastShapes,
  expectSame,
  type Infer,
  inputOf,
  intOf,
  MICROSOFT,
  type NodeView,
  type OperatorTable,
  refuse,
  sameDtype,
} from './node-view.js'

const gemm: Infer = (node) => {
  const [a, b] = [inputOf(node, 0), inputOf(node, 1)]
  if (a.shape.length !== 2 || b.shape.length !== 2) refuse(node, 'both factors must be matrices')
  const dtype = sameDtype(node, [0, 1, 2])
  const [m, k] = intOf(node, 'transA', 0) ? [a.shape[1]!, a.shape[0]!] : [a.shape[0]!, a.shape[1]!]
  const [inner, n] = intOf(node, 'transB', 0) ? [b.shape[1]!, b.shape[0]!] : [b.shape[0]!, b.shape[1]!]
  expectSame(node, 'the inner sizes', k, inner)
  const bias = node.inputs[2]
  if (bias) broadcastShapes(node, [[m, n], bias.shape])
  return [{ dtype, shape: [m, n] }]
}

function swapped(shape: Shape): Shape {
  return [...shape.slice(0, -2), shape.at(-1)!, shape.at(-2)!]
}

function product(node: NodeView, a: Shape, b: Shape): Shape {
  if (a.length === 0 || b.length === 0) return refuse(node, 'a scalar is not a matrix')
  const left: Shape = a.length === 1 ? [1, a[0]!] : a
  const right: Shape = b.length === 1 ? [b[0]!, 1] : b
  expectSame(node, 'the inner sizes', left.at(-1), right.at(-2))
  const batch = broadcastShapes(node, [left.slice(0, -2), right.slice(0, -2)])
  const matrix: Dim[] = [...(a.length === 1 ? [] : [left.at(-2)!]), ...(b.length === 1 ? [] : [right.at(-1)!])]
  return [...batch, ...matrix]
}

const matMul: Infer = (node) => [
  { dtype: sameDtype(node, [0, 1]), shape: product(node, inputOf(node, 0).shape, inputOf(node, 1).shape) },
]

const fusedMatMul: Infer = (node) => {
  const [a, b] = [inputOf(node, 0).shape, inputOf(node, 1).shape]
  const shape = product(node, intOf(node, 'transA', 0) ? swapped(a) : a, intOf(node, 'transB', 0) ? swapped(b) : b)
  return [{ dtype: sameDtype(node, [0, 1]), shape }]
}

/** Integers times integers, scaled to float32. */
const integerProduct: Infer = (node) => [
  { dtype: 'float32', shape: product(node, inputOf(node, 0).shape, inputOf(node, 1).shape) },
]

const attention: Infer = (node) => {
  const [q, k, v] = [inputOf(node, 0), node.inputs[1], node.inputs[2]]
  if (q.shape.length !== 3 || k?.shape.length !== 3 || v?.shape.length !== 3)
    return refuse(node, 'q, k and v must be [N, L, D]')
  const heads = intOf(node, 'num_heads', 0)
  const width = q.shape[2]!
  if (heads < 1 || (typeof width === 'number' && width % heads !== 0)) refuse(node, `${heads} heads do not fit`)
  expectSame(node, 'the widths of q and k', width, k.shape[2])
  expectSame(node, 'the lengths of k and v', k.shape[1], v.shape[1])
  return [{ dtype: sameDtype(node, [0, 1, 2]), shape: [q.shape[0]!, q.shape[1]!, v.shape[2]!] }]
}

/** Tables have a row for every position and one column for each pair of a head's channels. */
const rotary: Infer = (node) => {
  const { dtype, shape } = inputOf(node, 0)
  expectSame(node, 'the tables', inputOf(node, 2).shape[1], inputOf(node, 3).shape[1])
  sameDtype(node, [0, 2, 3])
  return [{ dtype, shape }]
}

export const PRODUCTS: OperatorTable = {
  ':Gemm': { infer: gemm },
  ':MatMul': { infer: matMul },
  [`${MICROSOFT}:FusedMatMul`]: { infer: fusedMatMul },
  [`${MICROSOFT}:MatMulIntegerToFloat`]: { infer: integerProduct },
  [`${MICROSOFT}:MultiHeadAttention`]: { infer: attention },
  [`${MICROSOFT}:RotaryEmbedding`]: { infer: rotary },
}
