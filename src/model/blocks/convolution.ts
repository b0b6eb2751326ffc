/**
 * Convolutions over [N, C, H, W] and what stands between them in the decoders and encoders of images. None of these
 * operators mixes rows, so an image's bits do not depend on its batch.
 */
import type { GraphBuilder, Value } from '../../graph/builder.js'
import { activationWeight } from '../../graph/linear.js'
import { activationDtype, type Precision } from '../../graph/precision.js'

const MS = 'com.microsoft'

/** Where a network's parts are registered. */
export interface ConvContext {
  graph: GraphBuilder
  precision: Precision
  read: (name: string) => Promise<Float32Array>
  /** Shape of a tensor of the checkpoint. */
  shapeOf: (name: string) => readonly number[]
}

export interface Convolution {
  weight: Value
  bias?: Value
}

/** Registers the convolution `NAME.weight` [O, I, k, k], and `NAME.bias` where there is one. */
export function registerConvolution(
  { graph, precision, read, shapeOf }: ConvContext,
  name: string,
  bias = true,
): Convolution {
  const shape = [...shapeOf(`${name}.weight`)]
  return {
    weight: activationWeight(graph, precision, `${name}.weight`, shape, () => read(`${name}.weight`)),
    bias: bias
      ? activationWeight(graph, precision, `${name}.bias`, [shape[0]!], () => read(`${name}.bias`))
      : undefined,
  }
}

/** `pads`: before rows and columns, then behind them. Default: what keeps the size at stride 1. */
export function addConvolution(
  graph: GraphBuilder,
  x: Value,
  { weight, bias }: Convolution,
  { stride = 1, pads, group = 1 }: { stride?: number; pads?: [number, number, number, number]; group?: number } = {},
): Value {
  const [kernel, width] = weight.shape.slice(2) as [number, number]
  const same = (size: number): number => (size - 1) >> 1
  const around = pads ?? [same(kernel), same(width), same(kernel), same(width)]
  const inputs = bias ? [x, weight, bias] : [x, weight]
  return graph.op('Conv', inputs, { kernel_shape: [kernel, width], strides: [stride, stride], pads: around, group })
}

export interface GroupNorm {
  weight: Value
  bias: Value
  groups: number
  epsilon: number
}

/** Registers `NAME.weight` and `NAME.bias`, [C], of a norm over groups of channels. */
export function registerGroupNorm(
  { graph, precision, read, shapeOf }: ConvContext,
  name: string,
  { groups = 32, epsilon = 1e-6 }: { groups?: number; epsilon?: number } = {},
): GroupNorm {
  const channels = shapeOf(`${name}.weight`)[0]!
  const own = (part: string): Value =>
    activationWeight(graph, precision, `${name}.${part}`, [channels, 1, 1], () => read(`${name}.${part}`))
  return { weight: own('weight'), bias: own('bias'), groups, epsilon }
}

/**
 * The norm over groups of channels as InstanceNormalization over the groups: ONNX Runtime has fast code for that one
 * on a CPU, and none for GroupNormalization. `x` is [N, C, H, W].
 */
export function addGroupNorm(graph: GraphBuilder, x: Value, norm: GroupNorm, precision: Precision): Value {
  const { groups, epsilon } = norm
  const dtype = activationDtype(precision)
  const [, channels, height, width] = x.shape as [unknown, number, number, number]
  const fill = (value: number): Value => graph.constant(new Float32Array(groups).fill(value), [groups], dtype)
  const grouped = graph.op('Reshape', [x, graph.ints([0, groups, -1])])
  const normed = graph.op('InstanceNormalization', [grouped, fill(1), fill(0)], { epsilon: { float: epsilon } })
  const back = graph.op('Reshape', [normed, graph.ints([0, channels, height, width])])
  return graph.op('Add', [graph.op('Mul', [back, norm.weight]), norm.bias])
}

/** x · sigmoid(x) */
export function addSwish(graph: GraphBuilder, x: Value): Value {
  return graph.op('QuickGelu', [x], { alpha: { float: 1 } }, MS)
}

/** Every pixel becomes 2×2 of its kind. */
export function addNearestUpsample(graph: GraphBuilder, x: Value): Value {
  const scales = graph.constant([1, 1, 2, 2], [4])
  return graph.op('Resize', [x, undefined, scales], {
    mode: 'nearest',
    coordinate_transformation_mode: 'asymmetric',
    nearest_mode: 'floor',
  })
}

/** [N, C, h, w] → rows of tokens [N·h·w, C]. */
export function planesToRows(graph: GraphBuilder, x: Value): Value {
  const channels = x.shape[1] as number
  return graph.op('Reshape', [graph.op('Transpose', [x], { perm: [0, 2, 3, 1] }), graph.ints([-1, channels])])
}

/** Rows of tokens [N·h·w, C] → [N, C, h, w]. */
export function rowsToPlanes(graph: GraphBuilder, rows: Value, h: number, w: number): Value {
  const channels = rows.shape[1] as number
  const byPlace = graph.op('Reshape', [rows, graph.ints([-1, h, w, channels])])
  return graph.op('Transpose', [byPlace], { perm: [0, 3, 1, 2] })
}
