/** Convolutions, pools and resizing over [N, C, …spatial]. */
import { addDims, type Dim, floorDivideDim, multiplyDims, type Shape } from '../dims.js'
import {
  axisOf,
  elementsOf,
  expectSame,
  type Infer,
  inputOf,
  intOf,
  intsOf,
  type NodeView,
  numbersOf,
  type OperatorTable,
  refuse,
  sameDtype,
} from './node-view.js'

export interface Window {
  kernel: readonly number[]
  strides: readonly number[]
  dilations: readonly number[]
  /** Before each axis, then behind each. */
  pads: readonly number[]
}

/** The window of a convolution or pool; `weight` gives the kernel where the attribute is left out. */
export function windowOf(node: NodeView, weight?: Shape): Window {
  const kernel = intsOf(node, 'kernel_shape') ?? (weight?.slice(2) as number[] | undefined)
  if (!kernel?.every((size) => typeof size === 'number')) return refuse(node, 'the kernel is not known')
  if (node.attributes.auto_pad !== undefined) refuse(node, 'pads must be given as numbers')
  const each = (value: number): number[] => kernel.map(() => value)
  return {
    kernel,
    strides: intsOf(node, 'strides') ?? each(1),
    dilations: intsOf(node, 'dilations') ?? each(1),
    pads: intsOf(node, 'pads') ?? [...each(0), ...each(0)],
  }
}

function windowCount(node: NodeView, size: Dim, window: Window, i: number, ceil = false): Dim {
  const { kernel, strides, dilations, pads } = window
  const around = pads[i]! + pads[i + kernel.length]! - dilations[i]! * (kernel[i]! - 1) - 1
  const last = addDims(size, around + (ceil ? strides[i]! - 1 : 0))
  if (typeof last === 'number' && last < 0) refuse(node, `a kernel of ${kernel[i]} is larger than the input`)
  return addDims(floorDivideDim(last, strides[i]!), 1)
}

const conv: Infer = (node) => {
  const [{ shape }, weight] = [inputOf(node, 0), inputOf(node, 1)]
  const window = windowOf(node, weight.shape)
  expectSame(node, 'the channels', shape[1], multiplyDims(weight.shape[1]!, intOf(node, 'group', 1)))
  const spatial = shape.slice(2).map((size, i) => windowCount(node, size, window, i))
  return [{ dtype: sameDtype(node, [0, 1, 2]), shape: [shape[0]!, weight.shape[0]!, ...spatial] }]
}

const convTranspose: Infer = (node) => {
  const [{ shape }, weight] = [inputOf(node, 0), inputOf(node, 1)]
  const { kernel, strides, dilations, pads } = windowOf(node, weight.shape)
  const extra = intsOf(node, 'output_padding') ?? kernel.map(() => 0)
  expectSame(node, 'the channels', shape[1], weight.shape[0])
  const spatial = shape.slice(2).map((size, i) => {
    const around = dilations[i]! * (kernel[i]! - 1) + 1 - pads[i]! - pads[i + kernel.length]! + extra[i]!
    return addDims(multiplyDims(addDims(size, -1), strides[i]!), around)
  })
  const channels = multiplyDims(weight.shape[1]!, intOf(node, 'group', 1))
  return [{ dtype: sameDtype(node, [0, 1, 2]), shape: [shape[0]!, channels, ...spatial] }]
}

/** y, and for MaxPool the places of the largest values. */
const pool: Infer = (node) => {
  const { dtype, shape } = inputOf(node, 0)
  const window = windowOf(node)
  const ceil = intOf(node, 'ceil_mode', 0) === 1
  const out = [shape[0]!, shape[1]!, ...shape.slice(2).map((size, i) => windowCount(node, size, window, i, ceil))]
  const types = [
    { dtype, shape: out },
    { dtype: 'int64', shape: out },
  ] as const
  return types.slice(0, node.count)
}

const globalPool: Infer = (node) => {
  const { dtype, shape } = inputOf(node, 0)
  return [{ dtype, shape: shape.map((size, i) => (i < 2 ? size : 1)) }]
}

const resize: Infer = (node) => {
  const { dtype, shape } = inputOf(node, 0)
  const axes = (intsOf(node, 'axes') ?? shape.map((_, i) => i)).map((axis) => axisOf(node, axis, shape.length))
  const out = [...shape]
  if (node.inputs[3]) {
    const sizes = elementsOf(node, 3)
    axes.forEach((axis, i) => {
      out[axis] = sizes[i]!
    })
  } else {
    const scales = numbersOf(node, 2)
    axes.forEach((axis, i) => {
      const size = shape[axis]!
      out[axis] = typeof size === 'number' ? Math.floor(size * scales[i]!) : multiplyDims(size, scales[i]!)
    })
  }
  return [{ dtype, shape: out }]
}

export const CONVOLUTIONS: OperatorTable = {
  ':Conv': { infer: conv },
  ':ConvTranspose': { infer: convTranspose },
  ':MaxPool': { infer: pool },
  ':AveragePool': { infer: pool },
  ':GlobalAveragePool': { infer: globalPool },
  ':Resize': { infer: resize },
}
