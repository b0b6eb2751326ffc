/**
 * CLIP's two towers as graphs. Image: patches without bias, class token and positions, ln_pre, blocks, ln_post; the
 * class token (or the mean of the patches) times the projection. Reference: open_clip 3.3, src/open_clip/transformer.py
 * (VisionTransformer, TextTransformer), which transformers' CLIPModel equals.
 */
import type { GraphBuilder, Value } from '../../graph/builder.js'
import { activationWeight, addCast } from '../../graph/linear.js'
import { activationDtype } from '../../graph/precision.js'
import type { ReadTensor } from '../../graph/read-tensor.js'
import { transpose } from '../../graph/transpose.js'
import { addImageTower, type ImageTower } from '../blocks/image-tower.js'
import { readBlocks } from '../blocks/layouts.js'
import { emitTokens } from '../blocks/outputs.js'
import { addL2Normalize, addMeanOfTokens, takeToken, takeTokens } from '../blocks/pooling.js'
import { positionsFor } from '../blocks/positions.js'
import type { TextTowerTensors } from '../blocks/text-tower.js'
import { addLayerNorm, linearNamed, normNamed } from '../blocks/transformer.js'
import type { EncoderSpec } from '../image-model.js'
import type { ClipConfig, ClipTextConfig } from './config.js'
import { clipNames, type TextNames, trainedGrid } from './tensors.js'

function imageTower(config: ClipConfig, read: ReadTensor): ImageTower {
  const { image } = config
  const names = clipNames(config)
  const { dim } = image.shape
  return {
    ...image,
    patchWeight: () => read(names.patch),
    lead: {
      count: 1,
      tokens: async () => {
        const [token, positions] = await Promise.all([read(names.cls), read(names.imagePositions)])
        return token.map((value, i) => value + positions[i]!)
      },
    },
    positions: async (grid) => {
      const table = (await read(names.imagePositions)).subarray(dim)
      // open_clip resamples with antialiasing when it loads a checkpoint at another size, transformers without.
      const rule = config.layout === 'open_clip' ? 'bicubic-antialias' : 'bicubic'
      return positionsFor(table, trainedGrid(config), grid, rule)
    },
    preNorm: image.preNorm ? normNamed(read, names.preNorm) : undefined,
    blocks: readBlocks(names.imageBlocks, read, image.depth),
    finalNorm: normNamed(read, names.imageNorm),
  }
}

/** Builds the image encoder. Outputs: `clip`, `cls`, `patches`, `layers`, and `clip_features` before normalisation. */
export async function buildClipImage(
  graph: GraphBuilder,
  config: ClipConfig,
  read: ReadTensor,
  spec: EncoderSpec,
): Promise<void> {
  const { image, embedding } = config
  const names = clipNames(config)
  const { dim } = image.shape
  const { precision } = spec
  const float = activationDtype(precision)
  const tokens = await addImageTower(graph, imageTower(config, read), spec, () =>
    activationWeight(graph, precision, 'image.projection.weight', [dim, embedding], async () => {
      const matrix = await read(names.imageProjection)
      return names.bareProjections ? matrix : transpose(matrix, embedding, dim)
    }),
  )
  const { count, normed, raw } = tokens
  emitTokens(graph, spec, { ...tokens, dim })
  if (!spec.outputs.includes('clip') && !spec.outputs.includes('clip_features')) return
  const source = image.normAfterPool ? raw : normed
  const pooled =
    image.pool === 'cls'
      ? takeToken(graph, source)
      : addMeanOfTokens(graph, takeTokens(graph, source, 1, count + 1), float, count, dim)
  const feature: Value = image.normAfterPool ? addLayerNorm(tokens, pooled, tokens.finalNorm!) : pooled
  // Norms of halves could overflow: from here on in float32.
  const projected = addCast(graph, graph.op('MatMul', [feature, tokens.registered]), float, 'float32')
  const emit = (name: string, value: Value): void =>
    graph.output(addCast(graph, value, 'float32', spec.dtype), { name, dtype: spec.dtype, shape: ['N', embedding] })
  if (spec.outputs.includes('clip')) emit('clip', addL2Normalize(graph, projected, precision))
  if (spec.outputs.includes('clip_features')) emit('clip_features', projected)
}

/** The text tower of a CLIP or a model made after it. */
export function textTower(
  text: ClipTextConfig,
  names: TextNames,
  read: ReadTensor,
  embedding: number,
  bare: boolean,
): TextTowerTensors {
  const { projection } = names
  const plain = linearNamed(read, projection.replace(/\.weight$/, ''))
  return {
    ...text,
    embedding,
    tokens: () => read(names.tokens),
    positions: () => read(names.positions),
    blocks: readBlocks(names.blocks, read, text.depth),
    finalNorm: normNamed(read, names.norm),
    projection: text.projectionBias
      ? plain
      : { weight: () => read(projection), ...(bare ? { stored: 'in-out' as const } : {}) },
  }
}

export function clipTextTower(config: ClipConfig, read: ReadTensor): TextTowerTensors {
  const names = clipNames(config)
  return textTower(config.text, names.text, read, config.embedding, names.bareProjections)
}
