/**
 * SigLIP's image tower as a graph: patches with bias, positions, blocks, norm; attention pooling by one learned query,
 * y = attention, y + mlp(norm(y)). Reference: transformers 5, modeling_siglip.py (SiglipVisionTransformer,
 * SiglipMultiheadAttentionPoolingHead); timm's AttentionPoolLatent equals it.
 */
import type { GraphBuilder, Value } from '../../graph/builder.js'
import { activationWeight, addCast, addProduct } from '../../graph/linear.js'
import { activationDtype } from '../../graph/precision.js'
import type { ReadTensor } from '../../graph/read-tensor.js'
import { addImageTower, type ImageTower } from '../blocks/image-tower.js'
import { readBlocks } from '../blocks/layouts.js'
import { emitTokens } from '../blocks/outputs.js'
import { addL2Normalize, atLeastTwoRows, dropLastRow } from '../blocks/pooling.js'
import { positionsFor } from '../blocks/positions.js'
import type { TextTowerTensors } from '../blocks/text-tower.js'
import {
  type Activation,
  addActivation,
  addLayerNorm,
  linearNamed,
  normNamed,
  packedPart,
  registerLinear,
  registerNorm,
  type Transformer,
} from '../blocks/transformer.js'
import { textTower } from '../clip/graph.js'
import type { EncoderSpec } from '../image-model.js'
import type { SiglipConfig } from './config.js'
import { siglipNames, trainedSide } from './tensors.js'

const MS = 'com.microsoft'

export function siglipImageTower(config: SiglipConfig, read: ReadTensor): ImageTower {
  const names = siglipNames(config)
  const side = trainedSide(config)
  return {
    ...config,
    patchWeight: () => read(`${names.patch}.weight`),
    patchBias: () => read(`${names.patch}.bias`),
    positions: async (grid) => {
      // timm resamples with antialiasing when it loads a checkpoint at another size, transformers without.
      const rule = config.layout === 'open_clip' ? 'bicubic-antialias' : 'bicubic'
      return positionsFor(await read(names.positions), { h: side, w: side }, grid, rule)
    },
    blocks: readBlocks(names.blocks, read, config.depth),
    finalNorm: normNamed(read, names.norm),
  }
}

/** Registers the pooling head; the function adds it to normed tokens [N, L, D] and gives [N, D]. */
export function registerPoolingHead(
  transformer: Transformer,
  config: SiglipConfig,
  read: ReadTensor,
): (tokens: Value, length: number) => Value {
  const { graph, precision, shape } = transformer
  const { dim, heads, hidden } = shape
  const { head } = siglipNames(config)
  const part = ([weight, bias, at, parts]: typeof head.q): ReturnType<typeof packedPart> =>
    packedPart(read, weight, bias, at, parts)
  // The query is the same for every image: its product is computed once, with the weights.
  const query = activationWeight(graph, precision, 'head.query', [1, 1, dim], async () => {
    const q = part(head.q)
    const [probe, matrix, bias] = await Promise.all([read(head.probe), q.weight(), q.bias!()])
    return bias.map((value, r) => {
      let sum = value
      for (let c = 0; c < dim; c++) sum += matrix[r * dim + c]! * probe[c]!
      return sum
    })
  })
  const k = registerLinear(transformer, 'head.k', [dim, dim], part(head.k))
  const v = registerLinear(transformer, 'head.v', [dim, dim], part(head.v))
  const proj = registerLinear(transformer, 'head.proj', [dim, dim], linearNamed(read, head.proj))
  const norm = registerNorm(transformer, 'head.norm', normNamed(read, head.norm))
  const up = registerLinear(transformer, 'head.up', [dim, hidden], linearNamed(read, head.up))
  const down = registerLinear(transformer, 'head.down', [hidden, dim], linearNamed(read, head.down))
  return (tokens, length) => {
    const rows = { values: graph.op('Reshape', [tokens, graph.ints([-1, dim])]) }
    const byRow = (x: Value): Value => graph.op('Reshape', [x, graph.ints([-1, length, dim])])
    const batch = graph.op('Slice', [graph.op('Shape', [tokens]), graph.ints([0]), graph.ints([1])])
    const queries = graph.op('Expand', [query, graph.op('Concat', [batch, graph.ints([1, dim])], { axis: 0 })]) // [N, 1, D]
    const attended = graph.op(
      'MultiHeadAttention',
      [queries, byRow(addProduct(graph, rows, k)), byRow(addProduct(graph, rows, v))],
      { num_heads: heads, scale: { float: 1 / Math.sqrt(dim / heads) } },
      MS,
    )
    const pooled = atLeastTwoRows(graph, graph.op('Reshape', [attended, graph.ints([-1, dim])]))
    const first = addProduct(graph, { values: pooled }, proj) // [N, D]
    const fed = addProduct(graph, { values: addLayerNorm(transformer, first, norm) }, up)
    const grown = addActivation(graph, shape.activation as Activation, fed)
    const sum = graph.op('Add', [first, addProduct(graph, { values: grown }, down)])
    return dropLastRow(graph, sum)
  }
}

/** Builds the image encoder. Outputs: `clip`, `patches`, `layers`, and before normalisation `clip_features`, `pooled`. */
export async function buildSiglipImage(
  graph: GraphBuilder,
  config: SiglipConfig,
  read: ReadTensor,
  spec: EncoderSpec,
): Promise<void> {
  const { embedding, shape } = config
  const { precision } = spec
  const tokens = await addImageTower(graph, siglipImageTower(config, read), spec, (transformer) =>
    config.head ? registerPoolingHead(transformer, config, read) : undefined,
  )
  emitTokens(graph, spec, { ...tokens, dim: shape.dim })
  const wanted = (['clip', 'clip_features', 'pooled'] as const).filter((name) => spec.outputs.includes(name))
  if (wanted.length === 0 || !tokens.registered) return
  const pooled = tokens.registered(tokens.normed, tokens.count)
  // Norms of halves could overflow: from here on in float32.
  const features = addCast(graph, pooled, activationDtype(precision), 'float32')
  for (const name of wanted) {
    const value = name === 'clip' ? addL2Normalize(graph, features, precision) : features
    graph.output(addCast(graph, value, 'float32', spec.dtype), { name, dtype: spec.dtype, shape: ['N', embedding] })
  }
}

export function siglipTextTower(config: SiglipConfig, read: ReadTensor): TextTowerTensors {
  return textTower(config.text, siglipNames(config).text, read, config.embedding, config.layout === 'open_clip')
}
