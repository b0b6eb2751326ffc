/** Gradients of convolutions and pools over [N, C, …spatial], as convolutions. Sizes in space must be known. */
import type { Dim } from '../dims.js'
import { type Window, windowOf } from '../operators/convolutions.js'
import type { Value } from '../value.js'
import type { Backward, GradientRule, GradientTable } from './rule.js'

const viewOf = ({ node }: Backward) => ({ ...node, domain: '', count: 1 })

function spatialOf(back: Backward, value: Value): number[] {
  return value.shape
    .slice(2)
    .map((size) => (typeof size === 'number' ? size : back.refuse('needs known sizes in space')))
}

/** First two axes changed places. */
const swapped = (back: Backward, x: Value): Value =>
  back.transpose(
    x,
    [1, 0, ...x.shape.keys()].filter((_, i, all) => i < 2 || all[i]! > 1),
  )

/** Sums over the batch and space, as a vector of channels. */
function channelSums(back: Backward, d: Value, like: Value): Value {
  const axes = [...d.shape.keys()].filter((axis) => axis !== 1)
  return back.reshapeAs(back.sum(d, axes), like)
}

/**
 * dW of y = x ∗ W: for each pair of channels the product of x and d at every place of the kernel. With batch and
 * channels changed round that is a convolution of x by d; strides and dilations change places.
 */
function kernelGradient(back: Backward, x: Value, d: Value, kernel: readonly number[], window: Window): Value {
  const products = back.op('Conv', [swapped(back, x), swapped(back, d)], {
    kernel_shape: spatialOf(back, d),
    strides: [...window.dilations],
    dilations: [...window.strides],
    pads: [...window.pads],
  }) // [C, O, …]
  // Where strides do not fit the input exactly, places behind the kernel come out, too.
  const axes = kernel.map((_, i) => i + 2)
  const cut = kernel.every((size, i) => products.shape[i + 2] === size)
    ? products
    : back.op('Slice', [products, back.ints(kernel.map(() => 0)), back.ints(kernel), back.ints(axes)])
  return swapped(back, cut)
}

const one = (back: Backward): void => {
  if (back.int('group', 1) !== 1) back.refuse('in groups is not supported')
}

/** d of the outputs of a window spread over its inputs, in the size of x. */
function spread(back: Backward, d: Value, weight: Value, window: Window, size: readonly number[]): Value {
  const outputs = spatialOf(back, d)
  const { kernel, strides, dilations, pads } = window
  const rank = kernel.length
  const extra = size.map((wanted, i) => {
    const reached = (outputs[i]! - 1) * strides[i]! + dilations[i]! * (kernel[i]! - 1) + 1
    return wanted - (reached - pads[i]! - pads[i + rank]!)
  })
  return back.op('ConvTranspose', [d, weight], {
    kernel_shape: [...kernel],
    strides: [...strides],
    dilations: [...dilations],
    pads: [...pads],
    output_padding: extra,
  })
}

const conv: GradientRule = (back) => {
  one(back)
  const [x, weight, bias] = [back.x(0), back.x(1), back.node.inputs[2]]
  const window = windowOf(viewOf(back), weight.shape)
  return [
    back.needs(0) ? spread(back, back.d, weight, window, spatialOf(back, x)) : undefined,
    back.needs(1) ? kernelGradient(back, x, back.d, window.kernel, window) : undefined,
    bias && back.needs(2) ? channelSums(back, back.d, bias) : undefined,
  ]
}

/** The transposed convolution is the gradient of a convolution: its own gradients are that convolution's. */
const convTranspose: GradientRule = (back) => {
  one(back)
  const [x, weight, bias] = [back.x(0), back.x(1), back.node.inputs[2]]
  const window = windowOf(viewOf(back), weight.shape)
  const { kernel, strides, dilations, pads } = window
  const forward = (): Value =>
    back.op('Conv', [back.d, weight], {
      kernel_shape: [...kernel],
      strides: [...strides],
      dilations: [...dilations],
      pads: [...pads],
    })
  return [
    back.needs(0) ? forward() : undefined,
    back.needs(1) ? kernelGradient(back, back.d, x, kernel, window) : undefined,
    bias && back.needs(2) ? channelSums(back, back.d, bias) : undefined,
  ]
}

/** Each d goes to the place that was the largest, the first of equal ones; windows may overlap. */
const maxPool: GradientRule = (back) => {
  const x = back.x(0)
  const places = back.op('Reshape', [back.y(1), back.ints([-1])])
  const zeros = back.op('Reshape', [back.zerosLike(x), back.ints([-1])])
  const flat = back.op('Reshape', [back.d, back.ints([-1])])
  const summed = back.op('ScatterElements', [zeros, places, flat], { axis: 0, reduction: 'add' })
  return [back.reshapeAs(summed, x)]
}

/** How many inputs each window of one axis covers, padding left out. */
function covered(size: number, count: number, i: number, { kernel, strides, dilations, pads }: Window): number[] {
  return Array.from({ length: count }, (_, at) => {
    let inside = 0
    for (let k = 0; k < kernel[i]!; k++) {
      const place = at * strides[i]! + k * dilations[i]! - pads[i]!
      if (place >= 0 && place < size) inside++
    }
    return inside
  })
}

const averagePool: GradientRule = (back) => {
  const x = back.x(0)
  const window = windowOf(viewOf(back))
  const [sizes, outputs] = [spatialOf(back, x), spatialOf(back, back.d)]
  if (sizes.length !== 2) back.refuse('is supported over two axes only')
  const area = window.kernel.reduce((a, b) => a * b, 1)
  let share = back.d
  if (back.int('count_include_pad', 0) === 1 || window.pads.every((pad) => pad === 0)) {
    share = back.scale(back.d, 1 / area)
  } else {
    const [rows, columns] = sizes.map((size, i) => covered(size, outputs[i]!, i, window)) as [number[], number[]]
    const inverse = rows.flatMap((r) => columns.map((c) => 1 / (r * c)))
    share = back.mul(back.d, back.graph.constant(inverse, outputs, back.d.dtype as 'float32'))
  }
  // Every channel by itself: channels become part of the batch.
  const channels = back.op('Reshape', [share, back.ints([-1, 1, ...outputs])])
  const ones = back.graph.constant(new Float32Array(area).fill(1), [1, 1, ...window.kernel], back.d.dtype as 'float32')
  return [back.reshapeAs(spread(back, channels, ones, window, sizes), x)]
}

const globalAveragePool: GradientRule = (back) => {
  const area = spatialOf(back, back.x(0)).reduce((a, b) => a * b, 1)
  return [back.expandAs(back.scale(back.d, 1 / area), back.x(0))]
}

/** Nearest neighbours, enlarged by whole numbers: d of a pixel is the sum over its copies. */
const resize: GradientRule = (back) => {
  const x = back.x(0)
  const factors = x.shape.map((size, i) => {
    const to = back.d.shape[i]!
    if (size === to) return 1
    const factor = typeof size === 'number' && typeof to === 'number' ? to / size : Number.NaN
    return Number.isInteger(factor) ? factor : back.refuse('is supported for enlarging by whole numbers only')
  })
  if (back.node.attributes.mode !== undefined && back.node.attributes.mode !== 'nearest')
    back.refuse('is supported for nearest neighbours only')
  const split = x.shape.flatMap((size, i): Dim[] => [size, factors[i]!])
  const axes = factors.map((_, i) => 2 * i + 1)
  return [back.reshapeAs(back.sum(back.reshape(back.d, split), axes), x)]
}

export const CONVOLUTION_GRADIENTS: GradientTable = {
  ':Conv': conv,
  ':ConvTranspose': convTranspose,
  ':MaxPool': maxPool,
  ':AveragePool': averagePool,
  ':GlobalAveragePool': globalAveragePool,
  ':Resize': resize,
}
