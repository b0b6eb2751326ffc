/**
 * The image encoder as one graph: uint8 pixels in, every requested output of one pass out. Patches are
 * taken by Reshape and Transpose of the 8-bit pixels; (x/255 − mean)/std is folded into the patch
 * embedding. Reference: vtp/models/encoders/vision_transformer*.py, vtp_hf/modeling_vtp.py.
 */

import type { GraphBuilder, Value } from '../../graph/builder.js'
import { activationWeight, addCast, roundSimulated } from '../../graph/linear.js'
import { type ActivationDtype, activationDtype } from '../../graph/precision.js'
import type { ReadTensor } from '../../graph/read-tensor.js'
import { transpose } from '../../graph/transpose.js'
import { IMAGENET_MEAN, IMAGENET_STD } from '../../image/normalize.js'
import type { TensorColumn } from '../../types.js'
import { addPatchRows, gridOf, patchMatrix } from '../blocks/patches.js'
import { addL2Normalize, addMeanOfTokens, prependTokens, takeToken, takeTokens } from '../blocks/pooling.js'
import type { EncoderSpec } from '../image-model.js'
import type { VtpConfig } from './config.js'
import { hasBottleneck, latentChannels } from './config.js'
import { visionShape } from './tensors.js'
import { addBlock, addNorm, addRopeConstants, blockWeights, normWeights, openTower, type Stream } from './vit.js'

/** Shapes of all outputs for one image, in the order of a shard's columns; float32. */
export function encoderColumns(
  config: VtpConfig,
  height: number,
  width: number,
  layers: number[] = [],
): TensorColumn[] {
  const patch = config.vision_patch_size
  const [h, w] = [Math.floor(height / patch), Math.floor(width / patch)]
  const dim = config.vision_embed_dim
  const column = (name: string, ...shape: number[]): TensorColumn => ({ name, dtype: 'float32', shape })
  const columns = latentChannels(config) > 0 ? [column('latents', latentChannels(config), h, w)] : []
  if (config.train_clip) columns.push(column('clip', config.text_embed_dim))
  columns.push(column('cls', dim), column('patches', h * w, dim))
  for (const k of layers) columns.push(column(`layer_${k}_cls`, dim), column(`layer_${k}_patches`, h * w, dim))
  return columns
}

/** Builds the graph. Weights are registered in a fixed order, whatever the outputs. */
export async function buildEncoder(
  graph: GraphBuilder,
  config: VtpConfig,
  read: ReadTensor,
  spec: EncoderSpec,
): Promise<void> {
  const shape = visionShape(config)
  const { precision } = spec
  const float = activationDtype(precision)
  const tower = await openTower(graph, read, shape, precision)
  const own = (name: string, dims: number[], make: () => Promise<Float32Array>): Value =>
    activationWeight(graph, precision, name, dims, make)
  const { dim } = shape
  const patch = config.vision_patch_size
  const { h, w } = gridOf({ ...spec, patch })
  const count = h * w
  const channels = latentChannels(config)
  const patchBytes = patch * patch * 3

  // Weights, always all of them and in this order. The patch embedding and the products after the last block are
  // small and stay in floating point.
  const patchWeight = own('trunk.patch_embed.weight', [patchBytes, dim], async () =>
    patchMatrix(await read('trunk.patch_embed.proj.weight'), dim, patch),
  )
  const patchBias = own('trunk.patch_embed.bias', [dim], () => read('trunk.patch_embed.proj.bias'))
  const clsToken = own('trunk.cls_token', [1, 1, dim], () => read('trunk.cls_token'))
  const blocks = Array.from({ length: shape.depth }, (_, i) => blockWeights(tower, i))
  const finalNorm = normWeights(tower, 'trunk.norm')
  const bottleneck = hasBottleneck(config)
    ? own('trunk.feature_bottleneck.weight', [dim, channels], async () =>
        transpose(await read('trunk.feature_bottleneck.weight'), channels, dim),
      )
    : undefined
  const clipInput = config.vision_bottleneck_ae_only ? dim : channels
  const visualProj = config.train_clip
    ? own('visual_proj.weight', [clipInput, config.text_embed_dim], async () =>
        transpose(await read('visual_proj.weight'), config.text_embed_dim, clipInput),
      )
    : undefined

  const simulated = (x: Value): Value => roundSimulated(graph, precision, x)
  const patches = addPatchRows(graph, precision, { ...spec, patch }, { mean: IMAGENET_MEAN, std: IMAGENET_STD })
  const embedded = simulated(graph.op('Gemm', [patches, patchWeight, patchBias])) // [N·h·w, D]
  const grid = graph.op('Reshape', [embedded, graph.ints([-1, count, dim])])
  const tokens = prependTokens(graph, clsToken, grid, [1, dim]) // [N, 1 + h·w, D]

  const rope = await addRopeConstants(tower, { h, w }, true)
  const first = graph.op('Reshape', [tokens, graph.ints([-1, dim])])
  let stream: Stream = { sum: first, normed: addNorm(tower, first, blocks[0]!.norm1) }
  const taps = new Map<number, Value>()
  const wanted = new Set(spec.outputs.includes('layers') ? (spec.layers ?? []) : [])
  const deepest = spec.outputs.some((o) => o !== 'layers') ? shape.depth - 1 : Math.max(...wanted)
  for (let i = 0; i <= deepest; i++) {
    const last = i === shape.depth - 1
    stream = addBlock(tower, blocks[i]!, rope, stream, last ? finalNorm : blocks[i + 1]!.norm1)
    if (wanted.has(i)) {
      const normed = last ? stream.normed : undefined
      taps.set(i, spec.layersNorm === false ? stream.sum : (normed ?? addNorm(tower, stream.sum, finalNorm)))
    }
  }

  const rows = (x: Value): Value => graph.op('Reshape', [x, graph.ints([-1, count + 1, dim])])
  const takeCls = (x: Value): Value => takeToken(graph, x) // [N, D]
  const takePatches = (x: Value): Value => takeTokens(graph, x, 1, count + 1) // [N, h·w, D]
  const emit = (name: string, value: Value, from: ActivationDtype, ...rest: number[]): void => {
    graph.output(addCast(graph, value, from, spec.dtype), { name, dtype: spec.dtype, shape: ['N', ...rest] })
  }
  const has = (output: EncoderSpec['outputs'][number]): boolean => spec.outputs.includes(output)
  const project = (x: Value, matrix: Value): Value => simulated(graph.op('MatMul', [simulated(x), matrix]))
  const squeeze = (x: Value): Value => (bottleneck ? project(x, bottleneck) : x)

  if (spec.outputs.some((o) => o !== 'layers')) {
    const last = rows(stream.normed)
    const cls = takeCls(last)
    const patchTokens = takePatches(last)
    if (has('latents')) {
      const planes = graph.op('Transpose', [squeeze(patchTokens)], { perm: [0, 2, 1] }) // [N, C, h·w]
      emit('latents', graph.op('Reshape', [planes, graph.ints([-1, channels, h, w])]), float, channels, h, w)
    }
    if (has('clip') || has('clip_features')) {
      const pooled = config.vision_clip_feat === 'pooled'
      let feature = cls
      // The bottleneck is linear, so pooling before it is the same and cheaper.
      if (pooled) feature = addMeanOfTokens(graph, patchTokens, float, count, dim)
      if (!config.vision_bottleneck_ae_only) feature = squeeze(feature)
      // Norms of halves could overflow: from here on in float32.
      const projected = addCast(graph, project(feature, visualProj!), float, 'float32')
      if (has('clip')) emit('clip', addL2Normalize(graph, projected, precision), 'float32', config.text_embed_dim)
      if (has('clip_features')) emit('clip_features', projected, 'float32', config.text_embed_dim)
    }
    if (has('latent_cls')) emit('latent_cls', squeeze(cls), float, channels)
    if (has('cls')) emit('cls', cls, float, dim)
    if (has('patches')) emit('patches', patchTokens, float, count, dim)
  }
  for (const [k, value] of taps) {
    emit(`layer_${k}_cls`, takeCls(rows(value)), float, dim)
    emit(`layer_${k}_patches`, takePatches(rows(value)), float, count, dim)
  }
}
