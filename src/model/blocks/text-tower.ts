/**
 * The text tower that CLIP, SigLIP and their descendants share: token and position tables, pre-norm blocks, one token
 * of every text, final norm, projection. The final norm works on each token by itself, so pooling comes first.
 */
import type { GraphBuilder, Value } from '../../graph/builder.js'
import { activationWeight, addCast } from '../../graph/linear.js'
import { activationDtype } from '../../graph/precision.js'
import { transpose } from '../../graph/transpose.js'
import type { TextSpec, TextTower } from '../image-model.js'
import { addL2Normalize } from './pooling.js'
import {
  addLayerNorm,
  type BlockTensors,
  type LinearTensors,
  type NormTensors,
  registerNorm,
  registerTransformer,
  type Transformer,
  type TransformerShape,
} from './transformer.js'

/**
 * Which token stands for a text: that of the largest id (the first of equals), of the first place of an id (the
 * first place where it is absent), the first, or the last one.
 */
export type TextPool = 'argmax' | { firstOf: number } | 'first' | 'last'

export interface TextTowerTensors {
  shape: TransformerShape
  vocabulary: number
  /** Ids per text. */
  length: number
  pool: TextPool
  /** Length of an embedding. */
  embedding: number
  /** Tables: [vocabulary, W] and [length, W]. */
  tokens: () => Promise<Float32Array>
  positions: () => Promise<Float32Array>
  blocks: readonly BlockTensors[]
  finalNorm: NormTensors
  /** As PyTorch's Linear, [E, W]; `stored: 'in-out'` is a bare matrix [W, E] used as x @ P. */
  projection?: LinearTensors & { stored?: 'in-out' }
}

/**
 * How many leading ids decide a text's embedding: up to the token that stands for it, where tokens see only those
 * before them. Undefined where all ids always count.
 */
export function tokensNeeded(pool: TextPool, causal: boolean): TextTower['tokensNeeded'] {
  if (!causal || pool === 'last') return undefined
  if (pool === 'first') return () => 1
  return (ids) => {
    if (pool !== 'argmax') return Math.max(0, ids.indexOf(BigInt(pool.firstOf))) + 1
    let largest = 0
    for (let i = 1; i < ids.length; i++) if (ids[i]! > ids[largest]!) largest = i
    return largest + 1
  }
}

/** What the tokens of a batch of texts are reshaped to, [N, L, D], and their rows of the table of positions. */
export function textShape(
  graph: GraphBuilder,
  positions: Value,
  length: number,
  dim: number,
  anyLength: boolean | undefined,
): { ids: Value; positions: Value; shape: Value } {
  const ids = graph.input({ name: 'ids', dtype: 'int64', shape: ['N', anyLength ? 'L' : length] })
  if (!anyLength) return { ids, positions, shape: graph.ints([-1, length, dim]) }
  const size = graph.op('Shape', [ids])
  const [zero, one] = [graph.constant([0], [], 'int64'), graph.constant([1], [], 'int64')]
  const places = graph.op('Range', [zero, graph.op('Gather', [size, one]), one])
  return {
    ids,
    positions: graph.op('Gather', [positions, places]),
    shape: graph.op('Concat', [size, graph.ints([dim])], { axis: 0 }),
  }
}

/** Builds the tower. Input `ids` int64 [N, length], or [N, L] for any L up to it; outputs float32 [N, E]. */
export async function buildTextTower(graph: GraphBuilder, tower: TextTowerTensors, spec: TextSpec = {}): Promise<void> {
  const { shape, length, embedding, projection } = tower
  const { dim } = shape
  const precision = spec.precision ?? 'fp32'
  const transformer: Transformer = { graph, precision, shape, prefix: 'text' }
  const own = (name: string, dims: number[], make: () => Promise<Float32Array>): Value =>
    activationWeight(graph, precision, name, dims, make)
  const words = own('text.tokens', [tower.vocabulary, dim], tower.tokens)
  const table = own('text.positions', [length, dim], tower.positions)
  const blocks = registerTransformer(transformer, tower.blocks)
  const finalNorm = registerNorm(transformer, 'text.norm', tower.finalNorm)
  const matrix =
    projection &&
    own('text.projection.weight', [dim, embedding], async () => {
      const weight = await projection.weight()
      return projection.stored === 'in-out' ? weight : transpose(weight, embedding, dim)
    })
  const bias = projection?.bias && own('text.projection.bias', [embedding], projection.bias)

  const { ids, positions, shape: whole } = textShape(graph, table, length, dim, spec.anyLength)
  const embedded = graph.op('Add', [graph.op('Gather', [words, ids]), positions]) // [N, L, W]
  const { sum } = blocks.add(graph.op('Reshape', [embedded, graph.ints([-1, dim])]), { length: whole })
  const tokens = graph.op('Reshape', [sum, whole])
  let features = addLayerNorm(transformer, poolTokens(graph, tower, tokens, ids), finalNorm) // [N, W]
  if (matrix) features = graph.op('MatMul', [features, matrix])
  if (bias) features = graph.op('Add', [features, bias])
  features = addCast(graph, features, activationDtype(precision), 'float32')
  const outputs = spec.outputs ?? ['clip']
  const port = (name: string): Parameters<GraphBuilder['output']>[1] => ({
    name,
    dtype: 'float32',
    shape: ['N', embedding],
  })
  if (outputs.includes('clip')) graph.output(addL2Normalize(graph, features, precision), port('clip'))
  if (outputs.includes('features')) graph.output(features, port('features'))
}

function poolTokens(graph: GraphBuilder, { pool, length }: TextTowerTensors, tokens: Value, ids: Value): Value {
  const at = (index: number): Value => graph.op('Gather', [tokens, graph.constant([index], [], 'int64')], { axis: 1 })
  if (pool === 'first') return at(0)
  if (pool === 'last') return at(length - 1)
  const scores =
    pool === 'argmax'
      ? ids
      : graph.op('Cast', [graph.op('Equal', [ids, graph.constant([pool.firstOf], [], 'int64')])], { to: 6 })
  const index = graph.op('ArgMax', [scores], { axis: 1, keepdims: 1, select_last_index: 0 }) // [N, 1]
  return graph.op('GatherND', [tokens, index], { batch_dims: 1 })
}
