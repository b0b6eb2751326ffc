/** Operators that move elements and compute nothing: shapes, slices, gathers. Sizes made of sizes stay known. */
import {
  addDims,
  ceilDivideDim,
  type Dim,
  divideDims,
  floorDivideDim,
  multiplyDims,
  productOf,
  type Shape,
  subtractDims,
} from '../dims.js'
import type { TensorType } from '../value.js'
import {
  axisOf,
  broadcastDim,
  broadcastShapes,
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

const reshape: Infer = (node) => {
  const { dtype, shape, elements } = inputOf(node, 0)
  const wanted = elementsOf(node, 1)
  const allowZero = intOf(node, 'allowzero', 0) === 1
  const sizes = wanted.map((size, i) => (size === 0 && !allowZero ? (shape[i] ?? refuse(node, 'no such axis')) : size))
  const total = productOf(shape)
  const free = sizes.indexOf(-1)
  if (free >= 0) {
    const rest = productOf(sizes.filter((_, i) => i !== free))
    sizes[free] =
      divideDims(total, rest) ??
      (typeof total === 'number' && typeof rest === 'number'
        ? refuse(node, `${total} elements do not fill [${wanted.join(', ')}]`)
        : `floor((${total})/(${rest}))`)
  } else expectSame(node, 'the number of elements', total, productOf(sizes))
  return [elements ? { dtype, shape: sizes, elements } : { dtype, shape: sizes }]
}

const transpose: Infer = (node) => {
  const { dtype, shape } = inputOf(node, 0)
  const perm = intsOf(node, 'perm') ?? shape.map((_, i) => shape.length - 1 - i)
  if (perm.length !== shape.length) refuse(node, `a permutation of ${perm.length} axes does not fit`)
  return [{ dtype, shape: perm.map((axis) => shape[axisOf(node, axis, shape.length)]!) }]
}

/** First place and size of the part of an axis that Slice takes. */
export function sliceAxis(size: Dim, start: number, end: number, step: number): { start: Dim; size: Dim } {
  if (typeof size === 'number') {
    const clamp = (at: number, low: number, high: number) => Math.min(Math.max(at < 0 ? at + size : at, low), high)
    const from = clamp(start, 0, step > 0 ? size : size - 1)
    const to = end <= -(2 ** 31) ? (step > 0 ? 0 : -1) : clamp(end, step > 0 ? 0 : -1, size)
    return { start: from, size: Math.max(0, Math.ceil((to - from) / step)) }
  }
  // Of an unknown size it is taken for granted that the part lies inside.
  const place = (at: number): Dim => (at >= 2 ** 31 - 1 ? size : at < 0 ? addDims(size, at) : at)
  if (step < 0) return { start: subtractDims(size, 1), size }
  const from = place(start)
  return { start: from, size: ceilDivideDim(subtractDims(place(end), from), step) }
}

const slice: Infer = (node) => {
  const { dtype, shape, elements } = inputOf(node, 0)
  const [starts, ends] = [numbersOf(node, 1), numbersOf(node, 2)]
  const axes = node.inputs[3] ? numbersOf(node, 3) : starts.map((_, i) => i)
  const steps = node.inputs[4] ? numbersOf(node, 4) : starts.map(() => 1)
  const out = [...shape]
  let known = elements
  axes.forEach((at, i) => {
    const axis = axisOf(node, at, shape.length)
    const part = sliceAxis(shape[axis]!, starts[i]!, ends[i]!, steps[i]!)
    out[axis] = part.size
    known =
      known && shape.length === 1 && typeof part.start === 'number' && typeof part.size === 'number'
        ? Array.from({ length: part.size }, (_, k) => elements![(part.start as number) + k * steps[i]!]!)
        : undefined
  })
  return [known ? { dtype, shape: out, elements: known } : { dtype, shape: out }]
}

const concat: Infer = (node) => {
  const values = node.inputs.map((_, i) => inputOf(node, i))
  const dtype = sameDtype(node, [...values.keys()])
  const rank = values[0]!.shape.length
  const axis = axisOf(node, intOf(node, 'axis', 0), rank)
  for (const { shape } of values) {
    if (shape.length !== rank) refuse(node, 'the inputs have different numbers of axes')
    shape.forEach((size, i) => {
      if (i !== axis) expectSame(node, `axis ${i}`, size, values[0]!.shape[i])
    })
  }
  const shape = values[0]!.shape.map((size, i) =>
    i === axis ? values.map((value) => value.shape[axis]!).reduce(addDims) : size,
  )
  const known = rank === 1 && values.every((value) => value.elements)
  return [known ? { dtype, shape, elements: values.flatMap((value) => value.elements!) } : { dtype, shape }]
}

const split: Infer = (node) => {
  const { dtype, shape } = inputOf(node, 0)
  const axis = axisOf(node, intOf(node, 'axis', 0), shape.length)
  const size = shape[axis]!
  const count = intOf(node, 'num_outputs', node.count)
  const each = ceilDivideDim(size, count)
  const sizes: readonly Dim[] = node.inputs[1]
    ? elementsOf(node, 1)
    : Array.from({ length: count }, (_, i) =>
        i < count - 1 || divideDims(size, count) !== undefined
          ? each
          : subtractDims(size, multiplyDims(each, count - 1)),
      )
  if (sizes.length !== node.count) refuse(node, `${sizes.length} parts, but ${node.count} outputs`)
  return sizes.map((part) => ({ dtype, shape: shape.map((old, i) => (i === axis ? part : old)) }))
}

const gather: Infer = (node) => {
  const [data, indices] = [inputOf(node, 0), inputOf(node, 1)]
  const axis = axisOf(node, intOf(node, 'axis', 0), data.shape.length)
  const shape = [...data.shape.slice(0, axis), ...indices.shape, ...data.shape.slice(axis + 1)]
  const picked = indices.elements?.map((at) =>
    typeof at === 'number' ? data.elements?.[at < 0 ? at + data.elements.length : at] : undefined,
  )
  const known = data.shape.length === 1 && picked?.every((value) => value !== undefined)
  return [known ? { dtype: data.dtype, shape, elements: picked as Dim[] } : { dtype: data.dtype, shape }]
}

const gatherNd: Infer = (node) => {
  const [data, indices] = [inputOf(node, 0), inputOf(node, 1)]
  const batch = intOf(node, 'batch_dims', 0)
  const depth = indices.shape.at(-1)
  if (typeof depth !== 'number') return refuse(node, 'the length of an index must be known')
  return [{ dtype: data.dtype, shape: [...indices.shape.slice(0, -1), ...data.shape.slice(batch + depth)] }]
}

const axesOf = (node: NodeView, rank: number): number[] => numbersOf(node, 1).map((axis) => axisOf(node, axis, rank))

const unsqueeze: Infer = (node) => {
  const { dtype, shape, elements } = inputOf(node, 0)
  const rank = shape.length + inputOf(node, 1).elements!.length
  const added = new Set(axesOf(node, rank))
  const rest = [...shape]
  const out = Array.from({ length: rank }, (_, i) => (added.has(i) ? 1 : rest.shift()!))
  return [elements ? { dtype, shape: out, elements } : { dtype, shape: out }]
}

const squeeze: Infer = (node) => {
  const { dtype, shape, elements } = inputOf(node, 0)
  const gone = node.inputs[1] ? new Set(axesOf(node, shape.length)) : undefined
  const out = shape.filter((size, i) => (gone ? !gone.has(i) : size !== 1))
  return [elements ? { dtype, shape: out, elements } : { dtype, shape: out }]
}

const shapeOf: Infer = (node) => {
  const { shape } = inputOf(node, 0)
  const end = intOf(node, 'end', shape.length)
  const elements = shape.slice(intOf(node, 'start', 0), end)
  return [{ dtype: 'int64', shape: [elements.length], elements }]
}

const expand: Infer = (node) => {
  const { dtype, shape } = inputOf(node, 0)
  return [{ dtype, shape: broadcastShapes(node, [shape, elementsOf(node, 1)]) }]
}

const tile: Infer = (node) => {
  const { dtype, shape } = inputOf(node, 0)
  const repeats = elementsOf(node, 1)
  return [{ dtype, shape: shape.map((size, i) => multiplyDims(size, repeats[i]!)) }]
}

const pad: Infer = (node) => {
  const { dtype, shape } = inputOf(node, 0)
  const pads = numbersOf(node, 1)
  const axes = node.inputs[3] ? numbersOf(node, 3).map((a) => axisOf(node, a, shape.length)) : shape.map((_, i) => i)
  const out: Dim[] = [...shape]
  axes.forEach((axis, i) => {
    out[axis] = addDims(shape[axis]!, pads[i]! + pads[i + axes.length]!)
  })
  return [{ dtype, shape: out }]
}

const oneHot: Infer = (node) => {
  const { shape } = inputOf(node, 0)
  const [depth] = elementsOf(node, 1)
  const axis = intOf(node, 'axis', -1)
  const at = axis < 0 ? axis + shape.length + 1 : axis
  return [{ dtype: inputOf(node, 2).dtype, shape: [...shape.slice(0, at), depth!, ...shape.slice(at)] }]
}

const range: Infer = (node) => {
  const { dtype } = inputOf(node, 0)
  const [[start], [limit], [step]] = [0, 1, 2].map((i) => elementsOf(node, i)) as [Dim[], Dim[], Dim[]]
  if (typeof step !== 'number') return refuse(node, 'the step must be known')
  const size = ceilDivideDim(subtractDims(limit!, start!), step)
  if (typeof size !== 'number' || typeof start !== 'number') return [{ dtype, shape: [size] }]
  return [{ dtype, shape: [size], elements: Array.from({ length: size }, (_, i) => start + i * step) }]
}

/** Attributes of DepthToSpace and SpaceToDepth. */
const blocks =
  (toSpace: boolean): Infer =>
  (node) => {
    const { dtype, shape } = inputOf(node, 0)
    const b = intOf(node, 'blocksize', 1)
    const [n, c, h, w] = shape as [Dim, Dim, Dim, Dim]
    const out: Shape = toSpace
      ? [n, floorDivideDim(c, b * b), multiplyDims(h, b), multiplyDims(w, b)]
      : [n, multiplyDims(c, b * b), floorDivideDim(h, b), floorDivideDim(w, b)]
    return [{ dtype, shape: out }]
  }

const like: Infer = (node) => {
  const { dtype, shape } = inputOf(node, 0)
  return [{ dtype, shape }]
}

const constantOfShape: Infer = (node) => [{ dtype: 'float32', shape: elementsOf(node, 0) } satisfies TensorType]

const topK: Infer = (node) => {
  const { dtype, shape } = inputOf(node, 0)
  const axis = axisOf(node, intOf(node, 'axis', -1), shape.length)
  const [k] = elementsOf(node, 1)
  const out = shape.map((size, i) => (i === axis ? broadcastDim(node, k!, 1) : size))
  return [
    { dtype, shape: out },
    { dtype: 'int64', shape: out },
  ]
}

const rule = (infer: Infer) => ({ infer })

export const ARRANGE: OperatorTable = {
  ':Reshape': rule(reshape),
  ':Transpose': rule(transpose),
  ':Slice': rule(slice),
  ':Concat': rule(concat),
  ':Split': rule(split),
  ':Gather': rule(gather),
  ':GatherND': rule(gatherNd),
  ':GatherElements': rule((node) => [{ dtype: inputOf(node, 0).dtype, shape: inputOf(node, 1).shape }]),
  ':ScatterElements': rule(like),
  ':ScatterND': rule(like),
  ':Unsqueeze': rule(unsqueeze),
  ':Squeeze': rule(squeeze),
  ':Shape': rule(shapeOf),
  ':Expand': rule(expand),
  ':Tile': rule(tile),
  ':Pad': rule(pad),
  ':OneHot': rule(oneHot),
  ':Range': rule(range),
  ':ConstantOfShape': rule(constantOfShape),
  ':DepthToSpace': rule(blocks(true)),
  ':SpaceToDepth': rule(blocks(false)),
  ':TopK': rule(topK),
}
