/**
 * RAE as graphs. Encoder: the image tower, tokens without those in front as planes, (z − mean)/sqrt(var + 1e-5).
 * Decoder: z·sqrt(var + 1e-5) + mean, tokens, a class token in front, stored positions, blocks of transformers' ViT,
 * patches of P·P·3. Reference: bytetriper/RAE a4d18c4, src/stage1/rae.py and decoders/decoder.py.
 */
import type { GraphBuilder, Value } from '../../graph/builder.js'
import { activationWeight, addCast } from '../../graph/linear.js'
import { activationDtype } from '../../graph/precision.js'
import type { ReadTensor } from '../../graph/read-tensor.js'
import { emitImage } from '../blocks/decoded-image.js'
import { addImageTower, type ImageTower } from '../blocks/image-tower.js'
import { type BlockLayout, readBlocks, setLinear, setNorm } from '../blocks/layouts.js'
import { prependTokens, takeTokens } from '../blocks/pooling.js'
import {
  linearNamed,
  normNamed,
  registerLinear,
  registerNorm,
  registerTransformer,
  type Transformer,
} from '../blocks/transformer.js'
import type { Shapes } from '../check-tensors.js'
import type { DecoderSpec, EncoderSpec } from '../image-model.js'
import { transformersVitLayout } from '../mae/tensors.js'
import type { RaeDecoder } from './config.js'

/** Statistics of the latents, each [C, h, w]; what is absent is 0 and 1. */
export interface LatentStats {
  mean?: Float32Array
  variance?: Float32Array
}

/** Keeps the root finite, as the reference does. */
const EPSILON = 1e-5

export interface RaeShape {
  channels: number
  h: number
  w: number
}

function statConstants(
  graph: GraphBuilder,
  stats: LatentStats,
  { channels, h, w }: RaeShape,
): { mean?: Value; root?: Value } {
  const shape = [channels, h, w]
  return {
    mean: stats.mean && graph.constant(stats.mean, shape),
    root:
      stats.variance &&
      graph.constant(
        stats.variance.map((value) => Math.sqrt(value + EPSILON)),
        shape,
      ),
  }
}

/** Builds the encoder. Output `latents` [N, C, h, w], normalised. */
export async function buildRaeEncoder(
  graph: GraphBuilder,
  tower: ImageTower,
  stats: LatentStats,
  shape: RaeShape,
  spec: EncoderSpec,
): Promise<void> {
  const { channels, h, w } = shape
  const tokens = await addImageTower(graph, tower, { ...spec, outputs: ['latents'] }, () => undefined)
  const patches = takeTokens(graph, tokens.normed, tokens.lead, tokens.lead + tokens.count) // [N, h·w, C]
  const wide = addCast(graph, patches, activationDtype(spec.precision), 'float32')
  const planes = graph.op('Reshape', [
    graph.op('Transpose', [wide], { perm: [0, 2, 1] }),
    graph.ints([-1, channels, h, w]),
  ])
  const { mean, root } = statConstants(graph, stats, shape)
  const centred = mean ? graph.op('Sub', [planes, mean]) : planes
  const latents = root ? graph.op('Div', [centred, root]) : centred
  if (!spec.outputs.includes('latents')) return
  graph.output(addCast(graph, latents, 'float32', spec.dtype), {
    name: 'latents',
    dtype: spec.dtype,
    shape: ['N', channels, h, w],
  })
}

const LAYERS: BlockLayout = transformersVitLayout('decoder_layers')

/** Shapes of the decoder's tensors for a grid of `places` tokens. */
export function decoderShapes({ shape, depth, patch }: RaeDecoder, channels: number, places: number): Shapes {
  const { dim } = shape
  const out: Shapes = new Map()
  setLinear(out, 'decoder_embed', dim, channels)
  out.set('trainable_cls_token', [1, 1, dim])
  out.set('decoder_pos_embed', [1, 1 + places, dim])
  for (let i = 0; i < depth; i++) LAYERS.shapes(out, i, shape)
  setNorm(out, 'decoder_norm', dim)
  setLinear(out, 'decoder_pred', patch * patch * 3, dim)
  return out
}

/** Builds the decoder. `image` is 0…1, as the model returns it, not clamped. */
export function buildRaeDecoder(
  graph: GraphBuilder,
  { shape, depth, patch }: RaeDecoder,
  read: ReadTensor,
  stats: LatentStats,
  { channels, h, w }: RaeShape,
  normalised: { mean: readonly number[]; std: readonly number[] },
  spec: DecoderSpec,
): void {
  const precision = spec.precision ?? 'fp32'
  const float = activationDtype(precision)
  const { dim } = shape
  const count = h * w
  const transformer: Transformer = { graph, precision, shape, prefix: 'decoder' }
  const embed = registerLinear(transformer, 'decoder.embed', [channels, dim], linearNamed(read, 'decoder_embed'))
  const front = activationWeight(graph, precision, 'decoder.cls', [1, 1, dim], async () => {
    const [token, positions] = await Promise.all([read('trainable_cls_token'), read('decoder_pos_embed')])
    return token.map((value, i) => value + positions[i]!)
  })
  const positions = activationWeight(graph, precision, 'decoder.positions', [count, dim], async () =>
    (await read('decoder_pos_embed')).slice(dim),
  )
  const blocks = registerTransformer(transformer, readBlocks(LAYERS, read, depth))
  const norm = registerNorm(transformer, 'decoder.norm', normNamed(read, 'decoder_norm'))
  const pred = registerLinear(transformer, 'decoder.pred', [dim, patch * patch * 3], linearNamed(read, 'decoder_pred'))

  const latents = graph.input({ name: 'latents', dtype: 'float32', shape: ['N', channels, h, w] })
  const constants = statConstants(graph, stats, { channels, h, w })
  const scaled = constants.root ? graph.op('Mul', [latents, constants.root]) : latents
  const features = constants.mean ? graph.op('Add', [scaled, constants.mean]) : scaled
  const places = graph.op('Transpose', [features], { perm: [0, 2, 3, 1] })
  const rows = addCast(graph, graph.op('Reshape', [places, graph.ints([-1, channels])]), 'float32', float)
  const embedded = graph.op('Reshape', [
    graph.op('Gemm', [rows, embed.weight, embed.bias!]),
    graph.ints([-1, count, dim]),
  ])
  const tokens = prependTokens(graph, front, graph.op('Add', [embedded, positions]), [1, dim])
  const run = blocks.add(graph.op('Reshape', [tokens, graph.ints([-1, dim])]), { length: 1 + count, finalNorm: norm })
  const all = graph.op('Reshape', [run.normed!, graph.ints([-1, 1 + count, dim])])
  const kept = graph.op('Reshape', [takeTokens(graph, all, 1, 1 + count), graph.ints([-1, dim])])
  const patches = graph.op('Gemm', [kept, pred.weight, pred.bias!]) // [N·h·w, P·P·3]
  const split = graph.op('Reshape', [
    addCast(graph, patches, float, 'float32'),
    graph.ints([-1, h, w, patch, patch, 3]),
  ])
  const planes = graph.op('Reshape', [
    graph.op('Transpose', [split], { perm: [0, 5, 1, 3, 2, 4] }), // [N, 3, h, P, w, P]
    graph.ints([-1, 3, h * patch, w * patch]),
  ])
  const std = graph.constant([...normalised.std], [3, 1, 1])
  const mean = graph.constant([...normalised.mean], [3, 1, 1])
  const image = graph.op('Add', [graph.op('Mul', [planes, std]), mean])
  emitImage(graph, { ...spec, precision: 'fp32' }, { image, mean: [0, 0, 0], std: [1, 1, 1], rounding: 'truncate' })
}
