/**
 * The text tower: token ids → CLIP text features. Reference: vtp/models/encoders/text_transformer.py as
 * VTPModel.get_clip_text_feature uses it (no padding mask; `text_embed_cls` only lengthens the position
 * table; everything but "none" is one matrix).
 */

import type { GraphBuilder, Value } from '../../graph/builder.js'
import { activationWeight, addCast, addProduct, type Linear, linear, prepareRows } from '../../graph/linear.js'
import { activationDtype } from '../../graph/precision.js'
import type { ReadTensor } from '../../graph/read-tensor.js'
import { transpose } from '../../graph/transpose.js'
import { addL2Normalize } from '../blocks/pooling.js'
import { textShape } from '../blocks/text-tower.js'
import type { TextSpec } from '../image-model.js'
import { textLength, type VtpConfig } from './config.js'

const MS = 'com.microsoft'
const EPSILON = { float: 1e-5 }

export async function buildText(
  graph: GraphBuilder,
  config: VtpConfig,
  read: ReadTensor,
  spec: TextSpec = {},
): Promise<void> {
  const dim = config.text_embed_dim
  const heads = config.text_num_heads
  const length = textLength(config)
  const hidden = Math.trunc(dim * config.text_mlp_ratio)
  const precision = spec.precision ?? 'fp32'
  const float = activationDtype(precision)
  const own = (name: string, shape: number[]): Value =>
    activationWeight(graph, precision, name, shape, () => read(name))
  const product = (name: string, out: number, inner: number): Linear =>
    linear(graph, precision, {
      name,
      inner,
      outer: out,
      weight: async () => transpose(await read(`${name}.weight`), out, inner),
      bias: () => read(`${name}.bias`),
    })

  const embedding = own('token_embedding.weight', [config.text_vocab_size, dim])
  const table = own('positional_embedding', [length, dim])
  const blocks = Array.from({ length: config.text_depth }, (_, i) => {
    const base = `text_transformer.resblocks.${i}`
    const part = (name: string, at: number): Linear =>
      linear(graph, precision, {
        name: `${base}.attn.${name}`,
        inner: dim,
        outer: dim,
        weight: async () => {
          const packed = await read(`${base}.attn.in_proj_weight`)
          return transpose(packed.subarray(at * dim * dim, (at + 1) * dim * dim), dim, dim)
        },
        bias: async () => (await read(`${base}.attn.in_proj_bias`)).slice(at * dim, (at + 1) * dim),
      })
    const scale = config.text_ls_init_value !== null
    return {
      ln1: [own(`${base}.ln_1.weight`, [dim]), own(`${base}.ln_1.bias`, [dim])],
      ln2: [own(`${base}.ln_2.weight`, [dim]), own(`${base}.ln_2.bias`, [dim])],
      qkv: [part('q', 0), part('k', 1), part('v', 2)],
      out: product(`${base}.attn.out_proj`, dim, dim),
      fc: product(`${base}.mlp.c_fc`, hidden, dim),
      proj: product(`${base}.mlp.c_proj`, dim, hidden),
      ls1: scale ? own(`${base}.ls_1.gamma`, [dim]) : undefined,
      ls2: scale ? own(`${base}.ls_2.gamma`, [dim]) : undefined,
    }
  })
  const lnFinal = [own('ln_final.weight', [dim]), own('ln_final.bias', [dim])]
  let projection: Value | undefined
  let projectionBias: Value | undefined
  if (config.text_proj_type !== 'none') {
    if (config.text_proj_bias) {
      projection = activationWeight(graph, precision, 'text_projection.weight.T', [dim, dim], async () =>
        transpose(await read('text_projection.weight'), dim, dim),
      )
      projectionBias = own('text_projection.bias', [dim])
    } else projection = own('text_projection', [dim, dim]) // used as x @ P
  }

  const { ids, positions, shape: flat } = textShape(graph, table, length, dim, spec.anyLength)
  const embedded = graph.op('Add', [graph.op('Gather', [embedding, ids]), positions]) // [N, L, D]
  let x = graph.op('Reshape', [embedded, graph.ints([-1, dim])])
  const branch = (value: Value, scale: Value | undefined): Value => (scale ? graph.op('Mul', [value, scale]) : value)
  for (const block of blocks) {
    const normed = graph.op('LayerNormalization', [x, ...block.ln1], { axis: -1, epsilon: EPSILON })
    const rows = prepareRows(graph, precision, normed)
    const [q, k, v] = block.qkv.map((weight) => graph.op('Reshape', [addProduct(graph, rows, weight), flat]))
    const attended = graph.op(
      'MultiHeadAttention',
      [q!, k!, v!],
      {
        num_heads: heads,
        scale: { float: 1 / Math.sqrt(dim / heads) },
        unidirectional: config.text_no_causal_mask ? 0 : 1,
      },
      MS,
    )
    const mixed = prepareRows(graph, precision, graph.op('Reshape', [attended, graph.ints([-1, dim])]))
    x = graph.op('Add', [x, branch(addProduct(graph, mixed, block.out), block.ls1)])
    const second = graph.op('LayerNormalization', [x, ...block.ln2], { axis: -1, epsilon: EPSILON })
    const up = addProduct(graph, prepareRows(graph, precision, second), block.fc)
    const activated = config.text_quick_gelu
      ? graph.op('QuickGelu', [up], { alpha: { float: 1.702 } }, MS)
      : graph.op('Gelu', [up], {}, MS)
    x = graph.op('Add', [x, branch(addProduct(graph, prepareRows(graph, precision, activated), block.proj), block.ls2)])
  }

  // ln_final works on each token by itself, so pooling comes first.
  const pooled = poolTokens(graph, config, graph.op('Reshape', [x, flat]), ids, length)
  let features = graph.op('LayerNormalization', [pooled, ...lnFinal], { axis: -1, epsilon: EPSILON })
  if (projection) features = graph.op('MatMul', [features, projection])
  if (projectionBias) features = graph.op('Add', [features, projectionBias])
  features = addCast(graph, features, float, 'float32')
  const tokens = config.text_pool_type === 'none' ? [length] : []
  const outputs = spec.outputs ?? ['clip']
  if (outputs.includes('clip')) {
    graph.output(addL2Normalize(graph, features, precision), {
      name: 'clip',
      dtype: 'float32',
      shape: ['N', ...tokens, dim],
    })
  }
  if (outputs.includes('features'))
    graph.output(features, { name: 'features', dtype: 'float32', shape: ['N', ...tokens, dim] })
}

function poolTokens(graph: GraphBuilder, config: VtpConfig, tokens: Value, ids: Value, length: number): Value {
  const at = (index: number): Value => graph.op('Gather', [tokens, graph.constant([index], [], 'int64')], { axis: 1 })
  switch (config.text_pool_type) {
    case 'first':
      return at(0)
    case 'last':
      return at(length - 1)
    case 'none':
      return tokens
    case 'argmax': {
      // The first position of the largest id, end token or not.
      const index = graph.op('ArgMax', [ids], { axis: 1, keepdims: 1, select_last_index: 0 }) // [N, 1]
      return graph.op('GatherND', [tokens, index], { batch_dims: 1 })
    }
  }
}
