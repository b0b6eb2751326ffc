/**
 * MAE's encoder as a graph: no masking, no shuffling; class token and patches with positions, blocks, norm. A
 * fine-tuned model takes the mean of the patch tokens (no final norm), its own norm, and the head.
 * Reference: facebookresearch/mae efb2a80, models_mae.py and models_vit.py (global_pool).
 */
import type { GraphBuilder, Value } from '../../graph/builder.js'
import { addCast, addProduct, type Linear } from '../../graph/linear.js'
import { activationDtype } from '../../graph/precision.js'
import type { ReadTensor } from '../../graph/read-tensor.js'
import { IMAGENET_MEAN, IMAGENET_STD } from '../blocks/constants.js'
import { addImageTower, type ImageTower } from '../blocks/image-tower.js'
import { readBlocks } from '../blocks/layouts.js'
import { emitTokens } from '../blocks/outputs.js'
import { addMeanOfTokens, takeTokens } from '../blocks/pooling.js'
import { positionsFor } from '../blocks/positions.js'
import { addLayerNorm, linearNamed, normNamed, registerLinear, registerNorm } from '../blocks/transformer.js'
import type { EncoderSpec } from '../image-model.js'
import type { MaeConfig } from './config.js'
import { FC_NORM, HEAD, maeNames } from './tensors.js'

export function maeTower(config: MaeConfig, read: ReadTensor): ImageTower {
  const names = maeNames(config)
  const { side, shape, classes } = config
  return {
    ...config,
    mean: IMAGENET_MEAN,
    std: IMAGENET_STD,
    patchWeight: () => read(`${names.patch}.weight`),
    patchBias: () => read(`${names.patch}.bias`),
    lead: {
      count: 1,
      tokens: async () => {
        const [token, positions] = await Promise.all([read(names.cls), read(names.positions)])
        return token.map((value, i) => value + positions[i]!)
      },
    },
    positions: async (grid) => {
      const table = (await read(names.positions)).subarray(shape.dim)
      return positionsFor(table, { h: side, w: side }, grid, 'bicubic')
    },
    blocks: readBlocks(names.blocks, read, config.depth),
    finalNorm: classes > 0 ? undefined : normNamed(read, names.norm),
  }
}

/** Builds the encoder. Outputs: `cls`, `patches`, `layers`; of a fine-tuned model `logits`, and hidden `pooled`. */
export async function buildMae(
  graph: GraphBuilder,
  config: MaeConfig,
  read: ReadTensor,
  spec: EncoderSpec,
): Promise<void> {
  const { shape, classes } = config
  const { dim } = shape
  const float = activationDtype(spec.precision)
  let norm: Value[] = []
  let head: Linear | undefined
  const tokens = await addImageTower(graph, maeTower(config, read), spec, (transformer) => {
    if (classes === 0) return
    norm = registerNorm(transformer, 'head.norm', normNamed(read, FC_NORM))
    head = registerLinear(transformer, 'head', [dim, classes], linearNamed(read, HEAD))
  })
  emitTokens(graph, spec, { ...tokens, dim })
  if (!head) return
  const mean = addMeanOfTokens(graph, takeTokens(graph, tokens.raw, 1, 1 + tokens.count), float, tokens.count, dim)
  const pooled = addLayerNorm(tokens, mean, norm)
  const emit = (name: 'logits' | 'pooled', value: Value, size: number): void => {
    if (!spec.outputs.includes(name)) return
    graph.output(addCast(graph, value, float, spec.dtype), { name, dtype: spec.dtype, shape: ['N', size] })
  }
  emit('pooled', pooled, dim)
  if (spec.outputs.includes('logits')) emit('logits', addProduct(graph, { values: pooled }, head), classes)
}
