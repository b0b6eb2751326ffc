/**
 * The text tower that CLIP, SigLIP and their descendants share: token and position tables, pre-norm blocks, one token
 * of every text, final norm, projection. The final norm works on each token by itself, so pooling comes first.
 */
import type { GraphBuilder, Value } from '../../graph/builder.js'
import { activationWeight, addCast } from '../../graph/linear.js'
import { activationDtype } from '../../graph/precision.js'
import { transpose } from '../../graph/transpose.js'
import type { TextSpec } from '../image-model.js'
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

/** Builds the tower. Input `ids` int64 [N, L]; outputs float32 [N, E]. */
export async function buildTextTower(graph: GraphBuilder, tower: TextTowerTensors, spec: TextSpec = {}): Promise<void> {
  const { shape, length, embedding, projection } = tower
  const { dim } = shape
  const precision = spec.precision ?? 'fp32'
  const transformer: Transformer = { graph, precision, shape, prefix: 'text' }
  const own = (name: string, dims: number[], make: () => Promise<Float32Array>): Value =>
    activationWeight(graph, precision, name, dims, make)
  const table = own('text.tokens', [tower.vocabulary, dim], tower.tokens)
  const positions = own('text.positions', [length, dim], tower.positions)
  const blocks = registerTransformer(transformer, tower.blocks)
  const finalNorm = registerNorm(transformer, 'text.norm', tower.finalNorm)
  const matrix =
    projection &&
    own('text.projection.weight', [dim, embedding], async () => {
      const weight = await projection.weight()
      return projection.stored === 'in-out' ? weight : transpose(weight, embedding, dim)
    })
  const bias = projection?.bias && own('text.projection.bias', [embedding], projection.bias)

  const ids = graph.input({ name: 'ids', dtype: 'int64', shape: ['N', length] })
  const embedded = graph.op('Add', [graph.op('Gather', [table, ids]), positions]) // [N, L, W]
  const { sum } = blocks.add(graph.op('Reshape', [embedded, graph.ints([-1, dim])]), { length })
  const tokens = graph.op('Reshape', [sum, graph.ints([-1, length, dim])])
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
