/**
 * The discriminator of the decoder's GAN stage: PatchGAN as taming-transformers builds it (NLayerDiscriminator), with
 * batch norm in training mode written out, so that its statistics can be followed outside of the graph.
 */
import type { GraphBuilder, Value } from '../graph/builder.js'
import type { Parameter } from '../model/vtp/training.js'
import { normals, STREAMS, uniforms } from '../train/streams.js'
import type { Shapes } from './state.js'

export interface PatchGanShape {
  /** Channels of the first layer. */
  ndf: number
  /** Layers that halve the image. */
  layers: number
}

interface Layer {
  /** Place in `main`. */
  at: number
  from: number
  to: number
  stride: number
  /** Place of the batch norm behind it; undefined: the layer has a bias instead. */
  norm?: number
}

const KERNEL = 4
const SLOPE = { float: 0.2 }
const EPSILON = 1e-5
/** Of fresh weights. */
const SIGMA = 0.02
/** Share of a batch's statistics in the running ones, at each pass. */
export const NORM_MOMENTUM = 0.1

function layersOf({ ndf, layers }: PatchGanShape): Layer[] {
  const width = (n: number): number => ndf * Math.min(2 ** n, 8)
  const inner = Array.from({ length: layers }, (_, i): Layer => {
    const at = 3 * i + 2
    return { at, from: width(i), to: width(i + 1), stride: i + 1 < layers ? 2 : 1, norm: at + 1 }
  })
  const last = { at: 3 * layers + 2, from: width(layers), to: 1, stride: 1 }
  return [{ at: 0, from: 3, to: ndf, stride: 2 }, ...inner, last]
}

/** Logits on a side that an image of this side gets; below 1 it is too small. */
export function patchGanGrid(shape: PatchGanShape, side: number): number {
  return layersOf(shape).reduce((size, { stride }) => Math.floor((size + 2 - KERNEL) / stride) + 1, side)
}

/** Shapes of the trained tensors, named as the official state dict does. */
export function patchGanShapes(shape: PatchGanShape): Shapes {
  const shapes = new Map<string, readonly number[]>()
  for (const { at, from, to, norm } of layersOf(shape)) {
    shapes.set(`main.${at}.weight`, [to, from, KERNEL, KERNEL])
    if (norm === undefined) shapes.set(`main.${at}.bias`, [to])
    else for (const part of ['weight', 'bias']) shapes.set(`main.${norm}.${part}`, [to])
  }
  return shapes
}

/**
 * The first value of a tensor: the official `weights_init` over PyTorch's own (convolutions normal 0.02, their biases
 * uniform ±1/√fan_in; batch norm normal (1, 0.02) and 0). A function of seed and name.
 */
export function freshPatchGan(name: string, shape: PatchGanShape, seed: number): Float32Array {
  const shapes = patchGanShapes(shape)
  const [, at, part] = name.split('.') as [string, string, string]
  const channels = patchGanNorms(shape).get(`main.${at}`)
  if (part.startsWith('running_')) return new Float32Array(channels!).fill(part === 'running_var' ? 1 : 0)
  const size = shapes.get(name)!
  const count = size.reduce((a, b) => a * b, 1)
  const index = [...shapes.keys()].indexOf(name)
  if (part === 'weight') {
    const mean = channels === undefined ? 0 : 1
    return normals(seed, STREAMS.init, index, count).map((value) => mean + SIGMA * value)
  }
  if (channels !== undefined) return new Float32Array(count)
  const bound =
    shapes
      .get(`main.${at}.weight`)!
      .slice(1)
      .reduce((a, b) => a * b, 1) ** -0.5
  return Float32Array.from({ length: count }, (_, i) => bound * (2 * uniforms(seed, STREAMS.init, index, i)[0] - 1))
}

/** Names of the batch norms, and their channels. */
export function patchGanNorms(shape: PatchGanShape): Map<string, number> {
  return new Map(layersOf(shape).flatMap(({ norm, to }) => (norm === undefined ? [] : [[`main.${norm}`, to] as const])))
}

export interface NormStatistics {
  /** Of the batch, [C]; the variance is that of a population. */
  mean: Value
  variance: Value
  /** Values of a channel. */
  count: number
}

/** Logits [B, 1, h, w] of planes [B, 3, H, W] in −1…1, and the statistics of each batch norm by its name. */
export function addPatchGan(
  graph: GraphBuilder,
  parameter: Parameter,
  shape: PatchGanShape,
  planes: Value,
): { logits: Value; statistics: Map<string, NormStatistics> } {
  const statistics = new Map<string, NormStatistics>()
  const layers = layersOf(shape)
  let x = planes
  layers.forEach(({ at, stride, norm }, i) => {
    const bias = norm === undefined ? parameter(`main.${at}.bias`) : undefined
    x = graph.op('Conv', [x, parameter(`main.${at}.weight`), bias], {
      kernel_shape: [KERNEL, KERNEL],
      strides: [stride, stride],
      pads: [1, 1, 1, 1],
    })
    if (norm !== undefined) x = normalise(`main.${norm}`, x)
    if (i + 1 < layers.length) x = graph.op('LeakyRelu', [x], { alpha: SLOPE })
  })
  return { logits: x, statistics }

  function normalise(name: string, value: Value): Value {
    const axes = graph.ints([0, 2, 3])
    const mean = graph.op('ReduceMean', [value, axes], { keepdims: 1 })
    const centred = graph.op('Sub', [value, mean])
    const variance = graph.op('ReduceMean', [graph.op('Mul', [centred, centred]), axes], { keepdims: 1 })
    const [batch, channels, height, width] = value.shape.map(Number) as [number, number, number, number]
    const flat = (v: Value): Value => graph.op('Reshape', [v, graph.ints([channels])])
    statistics.set(name, { mean: flat(mean), variance: flat(variance), count: batch * height * width })
    const perChannel = (part: string): Value =>
      graph.op('Reshape', [parameter(`${name}.${part}`), graph.ints([1, channels, 1, 1])])
    const scale = graph.op('Sqrt', [graph.op('Add', [variance, graph.scalar(EPSILON)])])
    const unit = graph.op('Div', [centred, scale])
    return graph.op('Add', [graph.op('Mul', [unit, perChannel('weight')]), perChannel('bias')])
  }
}
