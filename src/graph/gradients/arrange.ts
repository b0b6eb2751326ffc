/** Gradients of operators that move elements: everything goes back where it came from, and adds up where it is read twice. */
import type { Dim } from '../dims.js'
import { addDims, multiplyDims, subtractDims } from '../dims.js'
import { sliceAxis } from '../operators/arrange.js'
import type { Attributes, Value } from '../value.js'
import type { Backward, GradientRule, GradientTable } from './rule.js'

/** Tables of more rows than this are not worth a matrix of zeros and ones per gradient. */
const ONE_HOT_ROWS = 4096

const numbers = (back: Backward, index: number): number[] => {
  const elements = back.x(index).elements
  if (!elements?.every((value) => typeof value === 'number')) return back.refuse(`input ${index} must be known`)
  return elements as number[]
}

const axisOf = (axis: number, rank: number): number => (axis < 0 ? axis + rank : axis)

/** x with zeros before and behind it along axes. */
function padded(back: Backward, x: Value, pads: { axis: number; before: Dim; behind: Dim }[]): Value {
  const wanted = pads.filter(({ before, behind }) => before !== 0 || behind !== 0)
  if (wanted.length === 0) return x
  const all = [...wanted.map((pad) => pad.before), ...wanted.map((pad) => pad.behind)]
  if (!all.every((size) => typeof size === 'number')) return back.refuse('the part must lie at a known place')
  const axes = back.ints(wanted.map(({ axis }) => axis))
  return back.op('Pad', [x, back.ints(all as number[]), back.number(0, x), axes])
}

const slice: GradientRule = (back) => {
  const x = back.x(0)
  const [starts, ends] = [numbers(back, 1), numbers(back, 2)]
  const axes = back.node.inputs[3] ? numbers(back, 3) : starts.map((_, i) => i)
  const steps = back.node.inputs[4] ? numbers(back, 4) : starts.map(() => 1)
  let d = back.d
  const pads = axes.map((at, i) => {
    const axis = axisOf(at, x.shape.length)
    const size = x.shape[axis]!
    const step = steps[i]!
    const part = sliceAxis(size, starts[i]!, ends[i]!, step)
    if (step === 1) return { axis, before: part.start, behind: subtractDims(size, addDims(part.start, part.size)) }
    if (step !== -1) return back.refuse(`with steps of ${step} is not supported`)
    d = reversed(back, d, axis)
    const first = subtractDims(addDims(part.start, 1), part.size)
    return { axis, before: first, behind: subtractDims(size, addDims(part.start, 1)) }
  })
  return [padded(back, d, pads)]
}

function reversed(back: Backward, x: Value, axis: number): Value {
  return back.op('Slice', [x, back.ints([-1]), back.ints([-(2 ** 40)]), back.ints([axis]), back.ints([-1])])
}

/** The part of d that each input of a Concat was. */
const concat: GradientRule = (back) => {
  const inputs = back.node.inputs.map((_, i) => back.x(i))
  const axis = axisOf(back.int('axis', 0), back.d.shape.length)
  const sizes = inputs.map(({ shape }) => shape[axis]!)
  if (sizes.every((size) => typeof size === 'number')) {
    const wanted = inputs.map((_, i) => back.needs(i))
    const parts = back.graph.ops('Split', [back.d, back.ints(sizes as number[])], sizes.length, { axis }, '', wanted)
    return parts.map((part, i) => (wanted[i] ? part : undefined))
  }
  if (sizes.filter((size) => typeof size === 'string').length > 1) back.refuse('of several free sizes is not supported')
  // One size is free: what lies before it is counted from the front, the rest from the end.
  const free = sizes.findIndex((size) => typeof size === 'string')
  const total = (from: number, to: number): number => (sizes.slice(from, to) as number[]).reduce((a, b) => a + b, 0)
  return inputs.map((_, i) => {
    if (!back.needs(i)) return undefined
    const start = i <= free ? total(0, i) : -total(i, sizes.length)
    const behind = total(i + 1, sizes.length)
    const end = i < free ? total(0, i + 1) : behind === 0 ? 2 ** 40 : -behind
    return back.op('Slice', [back.d, back.ints([start]), back.ints([end]), back.ints([axis])])
  })
}

const split: GradientRule = (back) => {
  const axis = axisOf(back.int('axis', 0), back.x(0).shape.length)
  const parts = back.node.outputs.map((_, i) => back.upstream[i] ?? back.zerosLike(back.y(i)))
  return [back.op('Concat', parts, { axis })]
}

/** [count, n] with a 1 where a row is taken; sums of gradients have a fixed order that way. */
function oneHot(back: Backward, indices: Value, depth: Dim, like: Value): Value {
  if (typeof depth !== 'number') return back.refuse('of an axis of unknown size is not supported')
  return back.op(
    'OneHot',
    [indices, back.graph.constant([depth], [], 'int64'), back.graph.constant([0, 1], [2], like.dtype as 'float32')],
    { axis: -1 },
  )
}

/** Whether indices are consecutive numbers; the first of them. */
function consecutive(indices: Value): number | undefined {
  const at = indices.elements
  if (!at?.length || at.some((value, i) => typeof value !== 'number' || value !== (at[0] as number) + i))
    return undefined
  return at[0] as number
}

const gather: GradientRule = (back) => {
  const [data, indices, d] = [back.x(0), back.x(1), back.d]
  const rank = data.shape.length
  const axis = axisOf(back.int('axis', 0), rank)
  const size = data.shape[axis]!
  const count = indices.shape.reduce<Dim>(multiplyDims, 1)
  const first = consecutive(indices)
  const shape = data.shape.map((old, i) => (i === axis ? count : old))
  if (first !== undefined && typeof size === 'number' && typeof count === 'number') {
    const start = first < 0 ? first + size : first
    return [padded(back, back.reshape(d, shape), [{ axis, before: start, behind: size - start - count }])]
  }
  // The axis to the front, rows of everything else: [count, rest].
  const front = [axis, ...data.shape.keys()].filter((at, i) => i === 0 || at !== axis)
  const back0 = front.map((_, i) => front.indexOf(i))
  const moved = back.transpose(back.reshape(d, shape), front)
  const rest = front.slice(1).map((at) => data.shape[at]!)
  const width = rest.reduce<Dim>(multiplyDims, 1)
  const rows = back.reshape(moved, [count, width])
  const flat = back.reshape(indices, [count])
  const summed =
    typeof size === 'number' && size <= ONE_HOT_ROWS
      ? back.op('Gemm', [oneHot(back, flat, size, d), rows], { transA: 1 })
      : scattered(back, flat, rows, size)
  return [back.transpose(back.reshape(summed, [size, ...rest]), back0)]
}

/** [size, width] of zeros to which rows [count, width] are added, in their order. */
function scattered(back: Backward, indices: Value, rows: Value, size: Dim): Value {
  const width = rows.shape[1]!
  if (typeof size !== 'number' || typeof width !== 'number') return back.refuse('of unknown sizes is not supported')
  const zeros = back.op('Expand', [back.number(0, rows), back.ints([size, width])])
  const places = back.expandAs(back.reshape(indices, [indices.shape[0]!, 1]), rows)
  return back.op('ScatterElements', [zeros, places, rows], { axis: 0, reduction: 'add' })
}

/** One index per row of a batch, as it takes the end token of each text. */
const gatherNd: GradientRule = (back) => {
  const [data, indices, d] = [back.x(0), back.x(1), back.d]
  const depth = indices.shape.at(-1)
  if (back.int('batch_dims', 0) !== 1 || depth !== 1 || indices.shape.length !== 2)
    return back.refuse('is supported for one index per row of a batch only')
  const [batch, size] = data.shape as [Dim, Dim]
  const hot = oneHot(back, back.reshape(indices, [batch]), size, d) // [N, L]
  const tail = data.shape.slice(2).map(() => 1)
  const one = back.reshape(d, [batch, 1, ...data.shape.slice(2)])
  return [back.mul(back.reshape(hot, [batch, size, ...tail]), one)]
}

const gatherElements: GradientRule = (back) => [
  back.op('ScatterElements', [back.zerosLike(back.x(0)), back.x(1), back.d], {
    axis: back.int('axis', 0),
    reduction: 'add',
  }),
]

/** What was overwritten got nothing; updates get what lies at their places. */
const scatter =
  (type: 'ScatterElements' | 'ScatterND', read: 'GatherElements' | 'GatherND'): GradientRule =>
  (back) => {
    const reduction = back.node.attributes.reduction ?? 'none'
    const axis: Attributes = type === 'ScatterElements' ? { axis: back.int('axis', 0) } : {}
    if (reduction !== 'none' && reduction !== 'add') back.refuse(`with the reduction ${reduction} is not supported`)
    const data = (): Value =>
      reduction === 'add' ? back.d : back.op(type, [back.d, back.x(1), back.zerosLike(back.x(2))], axis)
    return [
      back.needs(0) ? data() : undefined,
      undefined,
      back.needs(2) ? back.op(read, [back.d, back.x(1)], axis) : undefined,
    ]
  }

const reshape: GradientRule = (back) => [back.reshapeAs(back.d, back.x(0))]

const pad: GradientRule = (back) => {
  if ((back.node.attributes.mode ?? 'constant') !== 'constant') back.refuse('is supported for constants only')
  const { shape } = back.x(0)
  const pads = numbers(back, 1)
  const axes = back.node.inputs[3] ? numbers(back, 3) : [...shape.keys()]
  const starts = pads.slice(0, axes.length)
  const ends = pads.slice(axes.length).map((behind) => (behind === 0 ? 2 ** 40 : -behind))
  if (pads.some((size) => size < 0)) back.refuse('of a negative width is not supported')
  return [back.op('Slice', [back.d, back.ints(starts), back.ints(ends), back.ints(axes)])]
}

const tile: GradientRule = (back) => {
  const { shape } = back.x(0)
  const repeats = numbers(back, 1)
  // Each axis as [repeats, size]; the sum over the repeats.
  const parts = back.reshape(
    back.d,
    shape.flatMap((size, i) => [repeats[i]!, size]),
  )
  return [
    back.reshapeAs(
      back.sum(
        parts,
        shape.map((_, i) => 2 * i),
      ),
      back.x(0),
    ),
  ]
}

/** DepthToSpace as SpaceToDepth undoes it (mode DCR). */
const inverse =
  (type: string): GradientRule =>
  (back) => {
    if ((back.node.attributes.mode ?? 'DCR') !== 'DCR') back.refuse('is supported for the mode DCR only')
    return [back.op(type, [back.d], { blocksize: back.int('blocksize', 1) })]
  }

export const ARRANGE_GRADIENTS: GradientTable = {
  ':Reshape': reshape,
  ':Unsqueeze': reshape,
  ':Squeeze': reshape,
  ':Transpose': (back) => {
    const { shape } = back.x(0)
    const given = back.node.attributes.perm as readonly number[] | undefined
    const perm = given ?? [...shape.keys()].reverse()
    return [
      back.transpose(
        back.d,
        [...perm.keys()].map((i) => perm.indexOf(i)),
      ),
    ]
  },
  ':Slice': slice,
  ':Concat': concat,
  ':Split': split,
  ':Gather': gather,
  ':GatherND': gatherNd,
  ':GatherElements': gatherElements,
  ':ScatterElements': scatter('ScatterElements', 'GatherElements'),
  ':ScatterND': scatter('ScatterND', 'GatherND'),
  ':Expand': (back) => [back.sumTo(back.d, back.x(0))],
  ':Tile': tile,
  ':Pad': pad,
  ':DepthToSpace': inverse('SpaceToDepth'),
  ':SpaceToDepth': inverse('DepthToSpace'),
}
