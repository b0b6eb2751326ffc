/**
 * Pre-norm transformer blocks without rotary embedding, as the peers of VTP have them: x += ls1·attn(n1(x));
 * x += ls2·mlp(n2(x)). They are fused as VTP's own: tokens travel as one matrix [N·L, D]; residual additions and the
 * bias before them ride on the following norm; the bias of v and LayerScale are folded into the projections.
 * Whatever a family's file calls its tensors, a block is described by the functions that read them.
 */
import type { GraphBuilder, Value } from '../../graph/builder.js'
import { activationWeight, addProduct, type Linear, linear, prepareRows } from '../../graph/linear.js'
import type { Precision } from '../../graph/precision.js'
import type { ReadTensor } from '../../graph/read-tensor.js'
import { transpose } from '../../graph/transpose.js'

const MS = 'com.microsoft'

/** `gelu` is exact (erf), `gelu-tanh` its approximation, `quick-gelu` x·sigmoid(1.702x). */
export type Activation = 'gelu' | 'gelu-tanh' | 'quick-gelu'

export interface TransformerShape {
  dim: number
  heads: number
  /** Width between the two products of the feed-forward network; of each half of a SwiGLU. */
  hidden: number
  /** Of the norms. */
  epsilon: number
  /** `swiglu`: silu(gate)·value; `geglu`: tanh-GELU(gate)·value. */
  activation: Activation | 'swiglu' | 'geglu'
  /** Tokens see only those before them. */
  causal?: boolean
}

/** A matrix as PyTorch's Linear keeps it, [out, in], and its bias. */
export interface LinearTensors {
  weight: () => Promise<Float32Array>
  bias?: () => Promise<Float32Array>
}

export interface NormTensors {
  weight: () => Promise<Float32Array>
  bias: () => Promise<Float32Array>
}

/** Reads one block of a checkpoint. */
export interface BlockTensors {
  norm1: NormTensors
  q: LinearTensors
  k: LinearTensors
  v: LinearTensors
  proj: LinearTensors
  norm2: NormTensors
  /** A norm of the feed-forward network's own, behind norm2. */
  innerNorm?: NormTensors
  /** One product, or gate and value. */
  up: LinearTensors[]
  down: LinearTensors
  /** LayerScale of the attention and of the feed-forward network, [D]. */
  scale1?: () => Promise<Float32Array>
  scale2?: () => Promise<Float32Array>
}

/** The norm whose tensors are `NAME.weight` and `NAME.bias`. */
export function normNamed(read: ReadTensor, name: string): NormTensors {
  return { weight: () => read(`${name}.weight`), bias: () => read(`${name}.bias`) }
}

/** The Linear whose tensors are `NAME.weight` and `NAME.bias`. */
export function linearNamed(read: ReadTensor, name: string): LinearTensors {
  return { weight: () => read(`${name}.weight`), bias: () => read(`${name}.bias`) }
}

/** Part `at` of `parts` that are stacked in one Linear, such as q, k and v. */
export function packedPart(read: ReadTensor, weight: string, bias: string, at: number, parts: number): LinearTensors {
  const cut = (values: Float32Array): Float32Array => {
    const size = values.length / parts
    return values.slice(at * size, (at + 1) * size)
  }
  return { weight: async () => cut(await read(weight)), bias: async () => cut(await read(bias)) }
}

export interface Transformer {
  graph: GraphBuilder
  precision: Precision
  shape: TransformerShape
  /** Names the weights in the graph. */
  prefix: string
}

interface Block {
  norm1: Value[]
  norm2: Value[]
  q: Linear
  k: Linear
  v: Linear
  proj: Linear
  projBias: Value
  innerNorm?: Value[]
  up: Linear[]
  down: Linear
  downBias: Value
}

/** Registers a norm's weight and bias. */
export function registerNorm({ graph, precision, shape }: Transformer, name: string, norm: NormTensors): Value[] {
  return [
    activationWeight(graph, precision, `${name}.weight`, [shape.dim], norm.weight),
    activationWeight(graph, precision, `${name}.bias`, [shape.dim], norm.bias),
  ]
}

/** Registers a Linear as the graph's products take it, [in, out]. */
export function registerLinear(
  { graph, precision }: Pick<Transformer, 'graph' | 'precision'>,
  name: string,
  [inner, outer]: [number, number],
  { weight, bias }: LinearTensors,
): Linear {
  return linear(graph, precision, {
    name,
    inner,
    outer,
    weight: async () => transpose(await weight(), outer, inner),
    bias,
  })
}

function scaleRows(matrix: Float32Array, scale: Float32Array): Float32Array {
  const columns = matrix.length / scale.length
  return matrix.map((value, i) => value * scale[Math.floor(i / columns)]!)
}

/** softmax rows add up to 1: attention(v + b) = attention(v) + b, and b goes through the projection. */
async function projectionBias({ proj, v, scale1 }: BlockTensors): Promise<Float32Array> {
  const [matrix, bias, vBias, scale] = await Promise.all([proj.weight(), proj.bias?.(), v.bias?.(), scale1?.()])
  const rows = bias?.length ?? scale?.length ?? Math.sqrt(matrix.length)
  const columns = matrix.length / rows
  return Float32Array.from({ length: rows }, (_, r) => {
    let sum = bias ? bias[r]! : 0
    if (vBias) for (let c = 0; c < columns; c++) sum += matrix[r * columns + c]! * vBias[c]!
    return scale ? sum * scale[r]! : sum
  })
}

/** Registers the weights of a block in a fixed order: the blob's layout depends on nothing but the model. */
function registerBlock(tower: Transformer, index: number, tensors: BlockTensors): Block {
  const { graph, precision, shape, prefix } = tower
  const { dim, hidden } = shape
  const base = `${prefix}.${index}`
  const { scale1, scale2 } = tensors
  const scaled = (part: LinearTensors, scale: BlockTensors['scale1']): LinearTensors => ({
    weight: async () => (scale ? scaleRows(await part.weight(), await scale()) : part.weight()),
  })
  const norm1 = registerNorm(tower, `${base}.norm1`, tensors.norm1)
  const q = registerLinear(tower, `${base}.q`, [dim, dim], tensors.q)
  const k = registerLinear(tower, `${base}.k`, [dim, dim], tensors.k)
  const v = registerLinear(tower, `${base}.v`, [dim, dim], { weight: tensors.v.weight })
  const proj = registerLinear(tower, `${base}.proj`, [dim, dim], scaled(tensors.proj, scale1))
  const projBias = activationWeight(graph, precision, `${base}.proj.bias`, [dim], () => projectionBias(tensors))
  const norm2 = registerNorm(tower, `${base}.norm2`, tensors.norm2)
  const innerNorm = tensors.innerNorm && registerNorm(tower, `${base}.inner_norm`, tensors.innerNorm)
  const up = tensors.up.map((part, i) => registerLinear(tower, `${base}.up${i}`, [dim, hidden], part))
  const down = registerLinear(tower, `${base}.down`, [hidden, dim], scaled(tensors.down, scale2))
  const downBias = activationWeight(graph, precision, `${base}.down.bias`, [dim], async () => {
    const [bias, scale] = await Promise.all([tensors.down.bias?.(), scale2?.()])
    const values = bias ?? new Float32Array(dim)
    return scale ? values.map((value, i) => value * scale[i]!) : values
  })
  return { norm1, norm2, q, k, v, proj, projBias, innerNorm, up, down, downBias }
}

/** A norm over the last axis. */
export function addLayerNorm({ graph, shape }: Pick<Transformer, 'graph' | 'shape'>, x: Value, norm: Value[]): Value {
  return graph.op('LayerNormalization', [x, ...norm], { axis: -1, epsilon: { float: shape.epsilon } })
}

/** What the feed-forward network has between its products. */
export function addActivation(graph: GraphBuilder, kind: Activation, x: Value): Value {
  if (kind === 'quick-gelu') return graph.op('QuickGelu', [x], { alpha: { float: 1.702 } }, MS)
  return kind === 'gelu' ? graph.op('Gelu', [x], {}, MS) : graph.op('Gelu', [x], { approximate: 'tanh' })
}

/** What lies between the products: an activation, or the product of a gate and a value. */
export function addGated(
  graph: GraphBuilder,
  kind: TransformerShape['activation'],
  first: Value,
  second?: Value,
): Value {
  if (kind === 'swiglu') return graph.op('Mul', [graph.op('QuickGelu', [first], { alpha: { float: 1 } }, MS), second!])
  if (kind === 'geglu') return graph.op('Mul', [addActivation(graph, 'gelu-tanh', first), second!])
  return addActivation(graph, kind, first)
}

/** The residual stream after a block, and its norm by what follows. */
interface Stream {
  sum: Value
  normed?: Value
}

/** branch + residual + bias, and the norm of that where one follows. */
function addResidual(tower: Transformer, branch: Value, residual: Value, bias: Value, norm?: Value[]): Stream {
  const { graph, shape } = tower
  if (!norm) return { sum: graph.op('Add', [graph.op('Add', [branch, bias]), residual]) }
  const epsilon = { float: shape.epsilon }
  const wanted = [true, false, false, true]
  const outputs = graph.ops('SkipLayerNormalization', [branch, residual, ...norm, bias], 4, { epsilon }, MS, wanted)
  return { normed: outputs[0]!, sum: outputs[3]! }
}

function addBlock(tower: Transformer, block: Block, stream: Required<Stream>, flat: Value, next?: Value[]): Stream {
  const { graph, precision, shape } = tower
  const { dim, heads } = shape
  const rows = prepareRows(graph, precision, stream.normed)
  const [q, k, v] = [block.q, block.k, block.v].map((part) =>
    graph.op('Reshape', [addProduct(graph, rows, part), flat]),
  )
  const attended = graph.op(
    'MultiHeadAttention',
    [q!, k!, v!],
    {
      num_heads: heads,
      scale: { float: 1 / Math.sqrt(dim / heads) },
      ...(shape.causal ? { unidirectional: 1 } : {}),
    },
    MS,
  )
  const mixed = prepareRows(graph, precision, graph.op('Reshape', [attended, graph.ints([-1, dim])]))
  const middle = addResidual(tower, addProduct(graph, mixed, block.proj), stream.sum, block.projBias, block.norm2)
  const inner = block.innerNorm ? addLayerNorm(tower, middle.normed!, block.innerNorm) : middle.normed!
  const fed = prepareRows(graph, precision, inner)
  const [first, second] = block.up.map((part) => addProduct(graph, fed, part))
  const hidden = addGated(graph, shape.activation, first!, second)
  const down = addProduct(graph, prepareRows(graph, precision, hidden), block.down)
  return addResidual(tower, down, middle.sum, block.downBias, next)
}

export interface RegisteredTransformer {
  /**
   * Adds the blocks to tokens [N·L, D]. Gives the residual stream after the last of them and, with `finalNorm`, its
   * norm; `taps` are the blocks (counted from 0) whose output is wanted, by `finalNorm` where there is one.
   */
  add(tokens: Value, options: RunOptions): { sum: Value; normed?: Value; taps: Map<number, Value> }
}

export interface RunOptions {
  /** Tokens of a row; where only a run knows them, the shape [N, L, D] as a value. */
  length: number | Value
  finalNorm?: Value[]
  taps?: readonly number[]
  /** Blocks to run; default all. */
  depth?: number
  /** Taps are the residual stream itself. */
  rawTaps?: boolean
}

/** Registers the weights of all blocks. */
export function registerTransformer(tower: Transformer, blocks: readonly BlockTensors[]): RegisteredTransformer {
  const registered = blocks.map((tensors, i) => registerBlock(tower, i, tensors))
  return {
    add(tokens, { length, finalNorm, taps: wanted = [], depth = registered.length, rawTaps = false }) {
      const taps = new Map<number, Value>()
      if (depth === 0) return { sum: tokens, normed: finalNorm && addLayerNorm(tower, tokens, finalNorm), taps }
      const flat = typeof length === 'number' ? tower.graph.ints([-1, length, tower.shape.dim]) : length
      let stream: Stream = { sum: tokens, normed: addLayerNorm(tower, tokens, registered[0]!.norm1) }
      for (let i = 0; i < depth; i++) {
        const last = i === depth - 1
        const next = last ? finalNorm : registered[i + 1]!.norm1
        stream = addBlock(tower, registered[i]!, stream as Required<Stream>, flat, next)
        if (!wanted.includes(i)) continue
        if (rawTaps || !finalNorm) taps.set(i, stream.sum)
        else taps.set(i, last ? stream.normed! : addLayerNorm(tower, stream.sum, finalNorm))
      }
      return { ...stream, taps }
    },
  }
}
