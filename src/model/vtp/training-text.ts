/**
 * VTP's text tower for training, in the layout of the state dict (text.ts is the same for encoding). Reference:
 * vtp/models/encoders/text_transformer.py as the training class uses it: causal, no padding mask, one vector per text.
 */

import { usageError } from '../../errors.js'
import type { Value } from '../../graph/builder.js'
import type { VtpConfig } from './config.js'
import type { TrainingModel } from './training.js'

const MS = 'com.microsoft'
const EPSILON = { float: 1e-5 }

/**
 * Whether texts may be given at less than their full length: positions behind the largest id do not reach it, which is
 * all that is read, so that value and gradient stay as they are.
 */
export function readsUpToEnd(config: VtpConfig): boolean {
  return config.text_pool_type === 'argmax' && !config.text_no_causal_mask && !config.text_embed_cls
}

/**
 * Token ids int64 [B, T] → features before their normalisation, [B, D]. T is the length of the position table, or less
 * where `readsUpToEnd`. Throws usage error `text_not_pooled`.
 */
export function addTextTower({ graph, config, parameter }: TrainingModel, ids: Value): Value {
  const { text_embed_dim: dim, text_num_heads: heads } = config
  const length = Number(ids.shape[1])
  const reshape = (x: Value, ...shape: number[]): Value => graph.op('Reshape', [x, graph.ints(shape)])
  const flat = (x: Value): Value => reshape(x, -1, dim)
  const cube = (x: Value): Value => reshape(x, -1, length, dim)
  const layerNorm = (x: Value, name: string): Value =>
    graph.op('LayerNormalization', [x, parameter(`${name}.weight`), parameter(`${name}.bias`)], {
      axis: -1,
      epsilon: EPSILON,
    })
  const product = (x: Value, weight: string, bias: string): Value =>
    graph.op('Gemm', [x, parameter(weight), parameter(bias)], { transB: 1 })
  const scaled = (x: Value, name: string): Value =>
    config.text_ls_init_value === null ? x : graph.op('Mul', [x, parameter(`${name}.gamma`)])

  const embedded = graph.op('Gather', [parameter('token_embedding.weight'), ids], { axis: 0 })
  const table = parameter('positional_embedding')
  const positions =
    table.shape[0] === length
      ? table
      : graph.op('Slice', [table, graph.ints([0]), graph.ints([length]), graph.ints([0])])
  let x = flat(graph.op('Add', [embedded, positions]))
  for (let i = 0; i < config.text_depth; i++) {
    const name = `text_transformer.resblocks.${i}`
    const packed = product(layerNorm(x, `${name}.ln_1`), `${name}.attn.in_proj_weight`, `${name}.attn.in_proj_bias`)
    const parts = graph.ops('Split', [packed], 3, { axis: 1, num_outputs: 3 }).map(cube)
    const attributes = {
      num_heads: heads,
      scale: { float: (dim / heads) ** -0.5 },
      unidirectional: config.text_no_causal_mask ? 0 : 1,
    }
    const mixed = flat(graph.op('MultiHeadAttention', parts, attributes, MS))
    const out = product(mixed, `${name}.attn.out_proj.weight`, `${name}.attn.out_proj.bias`)
    x = graph.op('Add', [x, scaled(out, `${name}.ls_1`)])
    const up = product(layerNorm(x, `${name}.ln_2`), `${name}.mlp.c_fc.weight`, `${name}.mlp.c_fc.bias`)
    const hidden = config.text_quick_gelu
      ? graph.op('QuickGelu', [up], { alpha: { float: 1.702 } }, MS)
      : graph.op('Gelu', [up], {}, MS)
    const down = product(hidden, `${name}.mlp.c_proj.weight`, `${name}.mlp.c_proj.bias`)
    x = graph.op('Add', [x, scaled(down, `${name}.ls_2`)])
  }
  const features = layerNorm(pooled(), 'ln_final')
  if (config.text_proj_type === 'none') return features
  if (config.text_proj_bias) return product(features, 'text_projection.weight', 'text_projection.bias')
  return graph.op('MatMul', [features, parameter('text_projection')])

  function pooled(): Value {
    const tokens = cube(x)
    if (config.text_pool_type === 'argmax') {
      const index = graph.op('ArgMax', [ids], { axis: 1, keepdims: 1, select_last_index: 0 }) // [B, 1]
      return graph.op('GatherND', [tokens, index], { batch_dims: 1 })
    }
    if (config.text_pool_type === 'none')
      throw usageError('text_not_pooled', 'The contrastive loss needs one vector per text, but text_pool_type is none')
    const at = config.text_pool_type === 'first' ? 0 : length - 1
    return reshape(graph.op('Gather', [tokens, graph.constant([at], [1], 'int64')], { axis: 1 }), -1, dim)
  }
}
