/** Operators that move elements, from their definitions. */
import type { GraphNode } from '../../../src/graph/builder.js'
import {
  at,
  axisOf,
  broadcast,
  build,
  each,
  int,
  ints,
  type Run,
  sizeOf,
  stridesOf,
  sum,
  type Tensor,
  tensor,
  transpose,
} from './tensor.js'

function pieces(node: GraphNode, x: Tensor, sizes: number[]): Tensor[] {
  const axis = axisOf(int(node, 'axis', 0), x.shape.length)
  let start = 0
  return sizes.map((size) => {
    const from = start
    start += size
    return build(
      x.shape.map((old, i) => (i === axis ? size : old)),
      (index) =>
        at(
          x,
          index.map((v, i) => (i === axis ? v + from : v)),
        ),
    )
  })
}

const blocks =
  (toSpace: boolean): Run =>
  (node, [x]) => {
    const b = int(node, 'blocksize', 1)
    const [n, c, h, w] = x!.shape as [number, number, number, number]
    if (toSpace) {
      const parts = tensor([n, b, b, c / b / b, h, w], x!.data)
      return [tensor([n, c / b / b, h * b, w * b], transpose(parts, [0, 3, 4, 1, 5, 2]).data)]
    }
    const parts = tensor([n, c, h / b, b, w / b, b], x!.data)
    return [tensor([n, c * b * b, h / b, w / b], transpose(parts, [0, 3, 5, 1, 2, 4]).data)]
  }

function scatter(x: Tensor, targets: { place: number; value: number }[], add: boolean): Tensor[] {
  const data = x.data.slice()
  for (const { place, value } of targets) data[place] = add ? data[place]! + value : value
  return [{ shape: x.shape, data }]
}

export const ARRANGE: Record<string, Run> = {
  Shape: (_, [x]) => [tensor([x!.shape.length], x!.shape)],
  Transpose: (node, [x]) => [transpose(x!, ints(node, 'perm') ?? x!.shape.map((_, i) => x!.shape.length - 1 - i))],
  Expand: (_, [x, shape]) => {
    const to = broadcast(x!, { shape: [...shape!.data], data: x!.data })
    return [build(to, (index) => at(x!, index))]
  },
  Slice: (_, [x, starts, ends, axes, steps]) => {
    const parts = x!.shape.map((size) => ({ start: 0, step: 1, size }))
    starts!.data.forEach((start, i) => {
      const axis = axes ? axisOf(axes.data[i]!, x!.shape.length) : i
      const size = x!.shape[axis]!
      const step = steps?.data[i] ?? 1
      const clamp = (v: number): number =>
        step > 0
          ? Math.min(Math.max(v < 0 ? v + size : v, 0), size)
          : Math.min(Math.max(v < 0 ? v + size : v, -1), size - 1)
      const from = clamp(start)
      parts[axis] = { start: from, step, size: Math.max(0, Math.ceil((clamp(ends!.data[i]!) - from) / step)) }
    })
    return [
      build(
        parts.map(({ size }) => size),
        (index) =>
          at(
            x!,
            index.map((v, i) => parts[i]!.start + v * parts[i]!.step),
          ),
      ),
    ]
  },
  Concat: (node, inputs) => {
    const axis = axisOf(int(node, 'axis', 0), inputs[0]!.shape.length)
    const total = sum(inputs.map(({ shape }) => shape[axis]!))
    return [
      build(
        inputs[0]!.shape.map((size, i) => (i === axis ? total : size)),
        (index) => {
          let place = index[axis]!
          const from = inputs.find(({ shape }) => {
            if (place < shape[axis]!) return true
            place -= shape[axis]!
            return false
          })!
          return at(
            from,
            index.map((v, i) => (i === axis ? place : v)),
          )
        },
      ),
    ]
  },
  Split: (node, [x, sizes]) => {
    const size = x!.shape[axisOf(int(node, 'axis', 0), x!.shape.length)]!
    const count = int(node, 'num_outputs', node.outputs.length)
    const each = Math.ceil(size / count)
    return pieces(
      node,
      x!,
      sizes ? [...sizes.data] : Array.from({ length: count }, (_, i) => Math.min(each, size - i * each)),
    )
  },
  Gather: (node, [x, indices]) => {
    const axis = axisOf(int(node, 'axis', 0), x!.shape.length)
    const rank = indices!.shape.length
    const shape = [...x!.shape.slice(0, axis), ...indices!.shape, ...x!.shape.slice(axis + 1)]
    return [
      build(shape, (index) => {
        const picked = rank === 0 ? indices!.data[0]! : at(indices!, index.slice(axis, axis + rank))
        const place = picked < 0 ? picked + x!.shape[axis]! : picked
        return at(x!, [...index.slice(0, axis), place, ...index.slice(axis + rank)])
      }),
    ]
  },
  /** One index per row of a batch, or whole rows by their number. */
  GatherND: (node, [x, indices]) =>
    int(node, 'batch_dims', 0) === 1
      ? [build([x!.shape[0]!, ...x!.shape.slice(2)], ([n, ...rest]) => at(x!, [n!, indices!.data[n!]!, ...rest]))]
      : [build([indices!.shape[0]!, ...x!.shape.slice(1)], ([n, ...rest]) => at(x!, [indices!.data[n!]!, ...rest]))],
  GatherElements: (node, [x, indices]) => {
    const axis = axisOf(int(node, 'axis', 0), x!.shape.length)
    return [
      build(indices!.shape, (index) =>
        at(
          x!,
          index.map((v, i) => (i === axis ? at(indices!, index) : v)),
        ),
      ),
    ]
  },
  ScatterElements: (node, [x, indices, updates]) => {
    const axis = axisOf(int(node, 'axis', 0), x!.shape.length)
    const strides = stridesOf(x!.shape)
    const targets: { place: number; value: number }[] = []
    each(indices!.shape, (index, from) => {
      const place = index.reduce((s, v, i) => s + (i === axis ? indices!.data[from]! : v) * strides[i]!, 0)
      targets.push({ place, value: updates!.data[from]! })
    })
    return scatter(x!, targets, node.attributes.reduction === 'add')
  },
  ScatterND: (node, [x, indices, updates]) => {
    const width = sizeOf(x!.shape.slice(1))
    const targets = [...updates!.data].map((value, i) => ({
      place: indices!.data[Math.floor(i / width)]! * width + (i % width),
      value,
    }))
    return scatter(x!, targets, node.attributes.reduction === 'add')
  },
  Tile: (_, [x, repeats]) => [
    build(
      x!.shape.map((size, i) => size * repeats!.data[i]!),
      (index) =>
        at(
          x!,
          index.map((v, i) => v % x!.shape[i]!),
        ),
    ),
  ],
  Pad: (_, [x, pads, value, axes]) => {
    const before = x!.shape.map(() => 0)
    const shape = [...x!.shape]
    const list = axes ? [...axes.data] : x!.shape.map((_, i) => i)
    list.forEach((axis, i) => {
      before[axis] = pads!.data[i]!
      shape[axis] = shape[axis]! + pads!.data[i]! + pads!.data[i + list.length]!
    })
    return [
      build(shape, (index) => {
        const place = index.map((v, i) => v - before[i]!)
        return place.every((v, i) => v >= 0 && v < x!.shape[i]!) ? at(x!, place) : (value?.data[0] ?? 0)
      }),
    ]
  },
  OneHot: (_, [indices, depth, values]) => [
    build([...indices!.shape, depth!.data[0]!], (index) =>
      indices!.data[stridesOf(indices!.shape).reduce((s, v, i) => s + v * index[i]!, 0)] === index.at(-1)
        ? values!.data[1]!
        : values!.data[0]!,
    ),
  ],
  DepthToSpace: blocks(true),
  SpaceToDepth: blocks(false),
}
