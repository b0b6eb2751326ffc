/**
 * The pixel decoder: latents → pixels. It always enlarges 16 times and its feed-forward ratio is 4,
 * whatever the encoder's patch size and ratio are. Reference: vtp/models/decoders/pixel_decoder.py;
 * 8-bit output as generation/tokenizer/vtp_tokenizer.py, decode_to_images: denormalise, × 255, clamp, cut off.
 */

import type { GraphBuilder, Value } from '../../graph/builder.js'
import { activationWeight, addCast, roundSimulated } from '../../graph/linear.js'
import { activationDtype } from '../../graph/precision.js'
import type { ReadTensor } from '../../graph/read-tensor.js'
import { transpose } from '../../graph/transpose.js'
import { IMAGENET_MEAN, IMAGENET_STD } from '../../image/normalize.js'
import type { DecoderSpec } from '../image-model.js'
import { DECODER_UPSCALE, latentChannels, type VtpConfig } from './config.js'
import { decoderShape } from './tensors.js'
import { addBlock, addNorm, addRopeConstants, blockWeights, normWeights, openTower, type Stream } from './vit.js'

const HALF = [0.5, 0.5, 0.5]

export async function buildDecoder(
  graph: GraphBuilder,
  config: VtpConfig,
  read: ReadTensor,
  spec: DecoderSpec,
): Promise<void> {
  const shape = decoderShape(config)
  const precision = spec.precision ?? 'fp32'
  const tower = await openTower(graph, read, shape, precision)
  const { dim } = shape
  const channels = latentChannels(config)
  const { height: h, width: w } = spec
  const up = DECODER_UPSCALE
  const outChannels = 3 * up * up

  // The first and the last product are small and stay in floating point.
  const projIn = activationWeight(graph, precision, 'pixel_decoder.proj_in.weight', [channels, dim], async () =>
    transpose(await read('pixel_decoder.proj_in.weight'), dim, channels),
  )
  const projInBias = activationWeight(graph, precision, 'pixel_decoder.proj_in.bias', [dim], () =>
    read('pixel_decoder.proj_in.bias'),
  )
  const blocks = Array.from({ length: shape.depth }, (_, i) => blockWeights(tower, i))
  const finalNorm = normWeights(tower, 'pixel_decoder.norm')
  const projOut = activationWeight(graph, precision, 'pixel_decoder.proj_out.weight', [dim, outChannels], async () =>
    transpose(await read('pixel_decoder.proj_out.weight'), outChannels, dim),
  )
  const projOutBias = activationWeight(graph, precision, 'pixel_decoder.proj_out.bias', [outChannels], () =>
    read('pixel_decoder.proj_out.bias'),
  )

  const input = graph.input({ name: 'latents', dtype: 'float32', shape: ['N', channels, h, w] })
  const simulated = (x: Value): Value => roundSimulated(graph, precision, x)
  const latents = simulated(addCast(graph, input, 'float32', activationDtype(precision)))
  const last = graph.op('Transpose', [latents], { perm: [0, 2, 3, 1] }) // [N, h, w, C]
  const rows = graph.op('Reshape', [last, graph.ints([-1, channels])])
  const first = simulated(graph.op('Gemm', [rows, projIn, projInBias]))
  const rope = await addRopeConstants(tower, { h, w }, false)
  let stream: Stream = { sum: first, normed: addNorm(tower, first, blocks[0]!.norm1) }
  blocks.forEach((weights, i) => {
    stream = addBlock(tower, weights, rope, stream, blocks[i + 1]?.norm1 ?? finalNorm)
  })
  const enlarged = simulated(graph.op('Gemm', [simulated(stream.normed), projOut, projOutBias])) // [N·h·w, 3·16·16]
  const projected = addCast(graph, enlarged, activationDtype(precision), 'float32')
  const shuffled = graph.op('Reshape', [projected, graph.ints([-1, h, w, 3, up, up])])

  const outputs = spec.outputs ?? ['pixels']
  if (outputs.includes('image')) {
    const planes = graph.op('Transpose', [shuffled], { perm: [0, 3, 1, 4, 2, 5] }) // [N, 3, h, 16, w, 16]
    const image = graph.op('Reshape', [planes, graph.ints([-1, 3, h * up, w * up])])
    graph.output(image, { name: 'image', dtype: 'float32', shape: ['N', 3, h * up, w * up] })
  }
  if (outputs.includes('pixels')) {
    const interleaved = graph.op('Transpose', [shuffled], { perm: [0, 1, 4, 2, 5, 3] }) // [N, h, 16, w, 16, 3]
    const image = graph.op('Reshape', [interleaved, graph.ints([-1, h * up, w * up, 3])])
    // The reference denormalises by Normalize(-mean/std, 1/std), in float32.
    const [means, stds] = spec.normalize === 'half' ? [HALF, HALF] : [IMAGENET_MEAN, IMAGENET_STD]
    const mean = graph.constant(
      means.map((m, c) => -m / stds[c]!),
      [3],
    )
    const std = graph.constant(
      stds.map((s) => 1 / s),
      [3],
    )
    const unit = graph.op('Div', [graph.op('Sub', [image, mean]), std])
    const scaled = graph.op('Clip', [graph.op('Mul', [unit, graph.scalar(255)]), graph.scalar(0), graph.scalar(255)])
    graph.output(graph.op('Cast', [scaled], { to: 2 }), {
      name: 'pixels',
      dtype: 'uint8',
      shape: ['N', h * up, w * up, 3],
    })
  }
}
