/**
 * The image encoder as one graph: uint8 pixels in, every requested output of one pass out. Patches are
 * taken by Reshape and Transpose of the 8-bit pixels; (x/255 − mean)/std is folded into the patch
 * embedding. Reference: vtp/models/encoders/vision_transformer*.py, vtp_hf/modeling_vtp.py.
 */

import type { GraphBuilder, Value } from '../../graph/builder.js'
import { activationWeight, addCast, roundSimulated } from '../../graph/linear.js'
import { type ActivationDtype, activationDtype, type Precision } from '../../graph/precision.js'
import type { ReadTensor } from '../../graph/read-tensor.js'
import { transpose } from '../../graph/transpose.js'
import { IMAGENET_MEAN, IMAGENET_STD } from '../../image/normalize.js'
import type { TensorColumn } from '../../types.js'
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

/** L2-normalises the last axis as torch.nn.functional.normalize does (norm at least 1e-12). */
export function addL2Normalize(graph: GraphBuilder, x: Value, precision: Precision): Value {
  const norm = roundSimulated(graph, precision, graph.op('ReduceL2', [x, graph.ints([-1])], { keepdims: 1 }))
  return roundSimulated(graph, precision, graph.op('Div', [x, graph.op('Max', [norm, graph.scalar(1e-12)])]))
}

/**
 * Mean over tokens, [N, L, D] → [N, D], as a product with a row of ones: the order of summation of
 * ReduceMean over a middle axis, and so the last bit, depends on the batch size and on the threads.
 */
function addMeanOfTokens(
  graph: GraphBuilder,
  tokens: Value,
  dtype: ActivationDtype,
  count: number,
  dim: number,
): Value {
  const ones = graph.constant(new Float32Array(count).fill(1), [1, count])
  const wide = addCast(graph, tokens, dtype, 'float32')
  const sums = graph.op('Reshape', [graph.op('MatMul', [ones, wide]), graph.ints([-1, dim])])
  return addCast(graph, graph.op('Mul', [sums, graph.scalar(1 / count)]), 'float32', dtype)
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
  const [h, w] = [Math.floor(spec.height / patch), Math.floor(spec.width / patch)]
  const count = h * w
  const channels = latentChannels(config)
  const patchBytes = patch * patch * 3

  // Weights, always all of them and in this order. The patch embedding and the products after the last block are
  // small and stay in floating point.
  const patchWeight = own('trunk.patch_embed.weight', [patchBytes, dim], async () => {
    const conv = await read('trunk.patch_embed.proj.weight') // [D, 3, P, P]
    const out = new Float32Array(patchBytes * dim)
    const area = patch * patch
    for (let o = 0; o < dim; o++) {
      for (let c = 0; c < 3; c++)
        for (let i = 0; i < area; i++) out[(i * 3 + c) * dim + o] = conv[(o * 3 + c) * area + i]!
    }
    return out
  })
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

  // Patches: uint8 [N, H, W, 3] → [N·h·w, P·P·3]
  let pixels = graph.input({ name: 'pixels', dtype: 'uint8', shape: ['N', spec.height, spec.width, 3] })
  if (h * patch !== spec.height || w * patch !== spec.width) {
    pixels = graph.op('Slice', [pixels, graph.ints([0, 0]), graph.ints([h * patch, w * patch]), graph.ints([1, 2])])
  }
  const split = graph.op('Reshape', [pixels, graph.ints([-1, h, patch, w, patch, 3])])
  const grouped = graph.op('Transpose', [split], { perm: [0, 1, 3, 2, 4, 5] }) // [N, h, w, P, P, 3]
  const colours = graph.op('Cast', [graph.op('Reshape', [grouped, graph.ints([-1, patch * patch, 3])])], { to: 1 })
  const unit = graph.op('Div', [colours, graph.scalar(255)])
  const centred = graph.op('Sub', [unit, graph.constant([...IMAGENET_MEAN], [3])])
  const normalised = graph.op('Div', [centred, graph.constant([...IMAGENET_STD], [3])])
  const flat = graph.op('Reshape', [normalised, graph.ints([-1, patchBytes])])
  const simulated = (x: Value): Value => roundSimulated(graph, precision, x)
  const patches = simulated(addCast(graph, flat, 'float32', float))
  const embedded = simulated(graph.op('Gemm', [patches, patchWeight, patchBias])) // [N·h·w, D]
  const grid = graph.op('Reshape', [embedded, graph.ints([-1, count, dim])])
  const batch = graph.op('Slice', [graph.op('Shape', [grid]), graph.ints([0]), graph.ints([1])])
  const clsShape = graph.op('Concat', [batch, graph.ints([1, dim])], { axis: 0 })
  const tokens = graph.op('Concat', [graph.op('Expand', [clsToken, clsShape]), grid], { axis: 1 }) // [N, 1 + h·w, D]

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
  const takeCls = (x: Value): Value => graph.op('Gather', [x, graph.constant([0], [], 'int64')], { axis: 1 }) // [N, D]
  const takePatches = (x: Value): Value =>
    graph.op('Slice', [x, graph.ints([1]), graph.ints([count + 1]), graph.ints([1])]) // [N, h·w, D]
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
