/**
 * The convolutional encoder and decoder of VQGAN, which VA-VAE and VILA-U keep: residual blocks with group norms,
 * attention of one head at some resolutions, downsampling by strided convolutions, upsampling by repetition and a
 * convolution. What blocks there are is read off the names of the checkpoint's tensors.
 * Reference: taming-transformers, taming/modules/diffusionmodules/model.py, and hustvl/LightningDiT 9860985,
 * tokenizer/autoencoder.py.
 */
import type { GraphBuilder, Value } from '../../graph/builder.js'
import { activationWeight } from '../../graph/linear.js'
import { transpose } from '../../graph/transpose.js'
import type { Shapes } from '../check-tensors.js'
import type { EncoderSpec } from '../image-model.js'
import {
  addConvolution,
  addGroupNorm,
  addNearestUpsample,
  addSwish,
  type ConvContext,
  type Convolution,
  planesToRows,
  registerConvolution,
  registerGroupNorm,
  rowsToPlanes,
} from './convolution.js'
import { countBlocks } from './torch-claim.js'

type Layer = (x: Value) => Value

/** A residual block: norm, swish, conv, norm, swish, conv; a 1×1 convolution on the way around where channels change. */
function residualBlock(context: ConvContext, base: string, has: (name: string) => boolean): Layer {
  const { graph, precision } = context
  const norm1 = registerGroupNorm(context, `${base}.norm1`)
  const conv1 = registerConvolution(context, `${base}.conv1`)
  const norm2 = registerGroupNorm(context, `${base}.norm2`)
  const conv2 = registerConvolution(context, `${base}.conv2`)
  const around = has(`${base}.nin_shortcut.weight`) ? registerConvolution(context, `${base}.nin_shortcut`) : undefined
  return (x) => {
    const first = addConvolution(graph, addSwish(graph, addGroupNorm(graph, x, norm1, precision)), conv1)
    const second = addConvolution(graph, addSwish(graph, addGroupNorm(graph, first, norm2, precision)), conv2)
    return graph.op('Add', [around ? addConvolution(graph, x, around) : x, second])
  }
}

/** Attention over all places with one head of all channels; its products are 1×1 convolutions in the file. */
function attentionBlock(context: ConvContext, base: string): Layer {
  const { graph, precision, read, shapeOf } = context
  const channels = shapeOf(`${base}.q.weight`)[0]!
  const norm = registerGroupNorm(context, `${base}.norm`)
  const [q, k, v, proj] = ['q', 'k', 'v', 'proj_out'].map((part) => {
    const name = `${base}.${part}`
    const weight = activationWeight(graph, precision, `${name}.weight`, [channels, channels], async () =>
      transpose(await read(`${name}.weight`), channels, channels),
    )
    return [weight, activationWeight(graph, precision, `${name}.bias`, [channels], () => read(`${name}.bias`))] as const
  })
  return (x) => {
    const [h, w] = x.shape.slice(2) as [number, number]
    const rows = planesToRows(graph, addGroupNorm(graph, x, norm, precision))
    const product = (part: typeof q): Value =>
      graph.op('Reshape', [graph.op('Gemm', [rows, ...part!]), graph.ints([-1, h * w, channels])])
    const attended = graph.op(
      'MultiHeadAttention',
      [product(q), product(k), product(v)],
      { num_heads: 1, scale: { float: 1 / Math.sqrt(channels) } },
      'com.microsoft',
    )
    const mixed = graph.op('Gemm', [graph.op('Reshape', [attended, graph.ints([-1, channels])]), ...proj!])
    return graph.op('Add', [x, rowsToPlanes(graph, mixed, h, w)])
  }
}

function middle(context: ConvContext, base: string, has: (name: string) => boolean): Layer {
  const first = residualBlock(context, `${base}.block_1`, has)
  const attention = has(`${base}.attn_1.q.weight`) ? attentionBlock(context, `${base}.attn_1`) : (x: Value) => x
  const second = residualBlock(context, `${base}.block_2`, has)
  return (x) => second(attention(first(x)))
}

/** Blocks of one level, each followed by attention where the level has it. */
function level(context: ConvContext, base: string, names: ReadonlySet<string>): Layer {
  const has = (name: string): boolean => names.has(name)
  const layers: Layer[] = []
  for (let i = 0; i < countBlocks(names, `${base}.block`); i++) {
    layers.push(residualBlock(context, `${base}.block.${i}`, has))
    if (has(`${base}.attn.${i}.q.weight`)) layers.push(attentionBlock(context, `${base}.attn.${i}`))
  }
  return (x) => layers.reduce((value, layer) => layer(value), x)
}

function closing(context: ConvContext, base: string): Layer {
  const { graph, precision } = context
  const norm = registerGroupNorm(context, `${base}.norm_out`)
  const conv = registerConvolution(context, `${base}.conv_out`)
  return (x) => addConvolution(graph, addSwish(graph, addGroupNorm(graph, x, norm, precision)), conv)
}

/** Registers the encoder below `base`; the function adds it to [N, 3, H, W]. */
export function registerVqganEncoder(context: ConvContext, base: string, names: ReadonlySet<string>): Layer {
  const { graph } = context
  const has = (name: string): boolean => names.has(name)
  const first = registerConvolution(context, `${base}.conv_in`)
  const levels: { blocks: Layer; down?: Convolution }[] = []
  for (let i = 0; i < countBlocks(names, `${base}.down`); i++) {
    const at = `${base}.down.${i}`
    const blocks = level(context, at, names)
    const down = has(`${at}.downsample.conv.weight`) ? registerConvolution(context, `${at}.downsample.conv`) : undefined
    levels.push({ blocks, down })
  }
  const mid = middle(context, `${base}.mid`, has)
  const last = closing(context, base)
  return (image) => {
    let x = addConvolution(graph, image, first)
    for (const { blocks, down } of levels) {
      x = blocks(x)
      // Zeros to the right and below only.
      if (down) x = addConvolution(graph, x, down, { stride: 2, pads: [0, 0, 1, 1] })
    }
    return last(mid(x))
  }
}

/** Registers the decoder below `base`; the function adds it to latents [N, C, h, w]. `up.0` is the finest level. */
export function registerVqganDecoder(context: ConvContext, base: string, names: ReadonlySet<string>): Layer {
  const { graph } = context
  const has = (name: string): boolean => names.has(name)
  const first = registerConvolution(context, `${base}.conv_in`)
  const mid = middle(context, `${base}.mid`, has)
  const levels: { blocks: Layer; up?: Convolution }[] = []
  for (let i = countBlocks(names, `${base}.up`) - 1; i >= 0; i--) {
    const at = `${base}.up.${i}`
    const blocks = level(context, at, names)
    const up = has(`${at}.upsample.conv.weight`) ? registerConvolution(context, `${at}.upsample.conv`) : undefined
    levels.push({ blocks, up })
  }
  const last = closing(context, base)
  return (latents) => {
    let x = mid(addConvolution(graph, latents, first))
    for (const { blocks, up } of levels) {
      x = blocks(x)
      if (up) x = addConvolution(graph, addNearestUpsample(graph, x), up)
    }
    return last(x)
  }
}

/** Adds −1…1 pixels of [N, 3, H, W] from the input `pixels`, uint8 [N, H, W, 3], or float32 in 0…1. */
export function addSignedPixels(
  graph: GraphBuilder,
  { height, width, pixels: dtype = 'uint8' }: Pick<EncoderSpec, 'height' | 'width' | 'pixels'>,
): Value {
  const pixels = graph.input({ name: 'pixels', dtype, shape: ['N', height, width, 3] })
  const floats = dtype === 'float32' ? pixels : graph.op('Cast', [pixels], { to: 1 })
  const planes = graph.op('Transpose', [floats], { perm: [0, 3, 1, 2] })
  const unit = dtype === 'float32' ? planes : graph.op('Div', [planes, graph.scalar(255)])
  return graph.op('Div', [graph.op('Sub', [unit, graph.scalar(0.5)]), graph.scalar(0.5)])
}

/** How many times smaller than the image the latents are on each side. */
export function vqganFactor(names: Iterable<string>, base: string): number {
  let factor = 1
  for (const name of names) if (name.startsWith(`${base}.`) && /sample\.conv\.weight$/.test(name)) factor *= 2
  return factor
}

/**
 * The shapes that a VQGAN encoder or decoder must have, followed from its first convolution through every block that
 * its tensors name. `out`: channels of its last convolution.
 */
export function vqganShapes(
  names: ReadonlySet<string>,
  shapeOf: (name: string) => readonly number[] | undefined,
  { base, kind, input, output }: { base: string; kind: 'down' | 'up'; input: number; output: number },
): Shapes {
  const out: Shapes = new Map()
  const conv = (name: string, to: number, from: number, kernel: number): void => {
    out.set(`${name}.weight`, [to, from, kernel, kernel])
    out.set(`${name}.bias`, [to])
  }
  const norm = (name: string, channels: number): void => {
    out.set(`${name}.weight`, [channels])
    out.set(`${name}.bias`, [channels])
  }
  const channelsOf = (name: string, fallback: number): number => shapeOf(`${name}.weight`)?.[0] ?? fallback
  const block = (at: string, from: number): number => {
    const to = channelsOf(`${at}.conv1`, from)
    norm(`${at}.norm1`, from)
    conv(`${at}.conv1`, to, from, 3)
    norm(`${at}.norm2`, to)
    conv(`${at}.conv2`, to, to, 3)
    if (from !== to) conv(`${at}.nin_shortcut`, to, from, 1)
    return to
  }
  const attention = (at: string, channels: number): void => {
    norm(`${at}.norm`, channels)
    for (const part of ['q', 'k', 'v', 'proj_out']) conv(`${at}.${part}`, channels, channels, 1)
  }
  const mid = (channels: number): void => {
    block(`${base}.mid.block_1`, channels)
    if (names.has(`${base}.mid.attn_1.q.weight`)) attention(`${base}.mid.attn_1`, channels)
    block(`${base}.mid.block_2`, channels)
  }
  let channels = channelsOf(`${base}.conv_in`, 0)
  conv(`${base}.conv_in`, channels, input, 3)
  if (kind === 'up') mid(channels)
  const count = countBlocks(names, `${base}.${kind}`)
  for (let step = 0; step < count; step++) {
    const i = kind === 'down' ? step : count - 1 - step
    const at = `${base}.${kind}.${i}`
    for (let b = 0; b < countBlocks(names, `${at}.block`); b++) {
      channels = block(`${at}.block.${b}`, channels)
      if (names.has(`${at}.attn.${b}.q.weight`)) attention(`${at}.attn.${b}`, channels)
    }
    const resample = kind === 'down' ? `${at}.downsample.conv` : `${at}.upsample.conv`
    if (kind === 'down' ? i < count - 1 : i > 0) conv(resample, channels, channels, 3)
  }
  if (kind === 'down') mid(channels)
  norm(`${base}.norm_out`, channels)
  conv(`${base}.conv_out`, output, channels, 3)
  return out
}
