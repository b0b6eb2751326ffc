/**
 * The words that gradients are written in. Every function adds nodes; sizes that are free at run time (the batch)
 * are handled here, so that no rule has to think of them.
 */
import type { GraphBuilder } from '../builder.js'
import { type Dim, productOf, type Shape } from '../dims.js'
import { type Attributes, ELEMENT, type Element, graphBug, type Value } from '../value.js'

export const MS = 'com.microsoft'

const FLOATS = new Set<Element>(['float32', 'float64', 'float16', 'bfloat16'])

/** Whether a value can have a gradient. */
export function isFloat({ dtype }: Pick<Value, 'dtype'>): boolean {
  return FLOATS.has(dtype)
}

export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((size, i) => size === b[i])
}

export interface Arithmetic {
  readonly graph: GraphBuilder
  op(type: string, inputs: (Value | undefined)[], attributes?: Attributes, domain?: string): Value
  /** A number of the element type of `like`. */
  number(value: number, like: Value): Value
  add(a: Value, b: Value): Value
  sub(a: Value, b: Value): Value
  mul(a: Value, b: Value): Value
  div(a: Value, b: Value): Value
  neg(x: Value): Value
  /** x · factor; x itself where the factor is 1. */
  scale(x: Value, factor: number): Value
  /** Sums with kept axes; x itself where there are none. */
  sum(x: Value, axes: readonly number[]): Value
  mean(x: Value, axes: readonly number[]): Value
  /** The int64 sizes of a value, a constant where they are known. */
  sizes(like: Value): Value
  /** x in the shape of `like`; x itself where it has it. */
  reshapeAs(x: Value, like: Value): Value
  /** x in these sizes, of which at most one is not a number. */
  reshape(x: Value, shape: Shape): Value
  transpose(x: Value, perm: readonly number[]): Value
  /** x repeated to the shape of `like`. */
  expandAs(x: Value, like: Value): Value
  /** Sums a gradient over the axes along which `like` was broadcast. */
  sumTo(x: Value, like: Value): Value
  zerosLike(like: Value): Value
  cast(x: Value, dtype: Element): Value
  /** Takes back repetitions that nobody reads, because their reader broadcasts what was repeated. */
  dropUnread(kept: readonly Value[]): void
  ints(values: readonly number[]): Value
}

export function arithmeticOf(graph: GraphBuilder): Arithmetic {
  const op: Arithmetic['op'] = (type, inputs, attributes = {}, domain = '') =>
    graph.op(type, inputs, attributes, domain)
  const number = (value: number, { dtype }: Value): Value => {
    if (dtype === 'int32') throw graphBug('int32 takes no part in gradients')
    return graph.constant([value], [], dtype)
  }
  const ints = (values: readonly number[]): Value => graph.ints([...values])
  const reduce = (type: string, x: Value, axes: readonly number[]): Value =>
    axes.length === 0 ? x : op(type, [x, ints(axes)], { keepdims: 1 })
  const sizes = (like: Value): Value =>
    like.shape.every((size) => typeof size === 'number') ? ints(like.shape as number[]) : op('Shape', [like])
  const reshape = (x: Value, shape: Shape): Value => {
    if (sameShape(x.shape, shape)) return x
    const free = shape.filter((size) => typeof size === 'string')
    if (free.length > 1) throw graphBug(`a gradient of ${free.length} free sizes cannot be brought to [${shape}]`)
    return op('Reshape', [x, ints(shape.map((size) => (typeof size === 'number' ? size : -1)))])
  }
  const reshapeAs = (x: Value, like: Value): Value => {
    const free = like.shape.filter((size) => typeof size === 'string')
    if (sameShape(x.shape, like.shape)) return x
    return free.length > 1 ? op('Reshape', [x, sizes(like)]) : reshape(x, like.shape)
  }
  /** What repetitions were made of, by name. */
  const repeated = new Map<string, Value>()
  const expandAs = (x: Value, like: Value): Value => {
    if (sameShape(x.shape, like.shape)) return x
    const out = op('Expand', [x, sizes(like)])
    repeated.set(out.name, x)
    return out
  }
  /** a ∘ b, with what a repetition was made of where the other factor has all its axes. */
  const binary = (type: string, a: Value, b: Value): Value => {
    const thin = (x: Value, other: Value): Value => {
      const source = repeated.get(x.name)
      if (!source || source.shape.length !== x.shape.length || other.shape.length !== x.shape.length) return x
      const fits = x.shape.every(
        (size, i) => source.shape[i] === size || (source.shape[i] === 1 && other.shape[i] === size),
      )
      return fits ? source : x
    }
    const left = thin(a, b)
    return op(type, [left, left === a ? thin(b, a) : b])
  }
  const scale = (x: Value, factor: number): Value => (factor === 1 ? x : op('Mul', [x, number(factor, x)]))
  return {
    graph,
    op,
    number,
    ints,
    add: (a, b) => binary('Add', a, b),
    sub: (a, b) => binary('Sub', a, b),
    mul: (a, b) => binary('Mul', a, b),
    div: (a, b) => binary('Div', a, b),
    neg: (x) => op('Neg', [x]),
    scale,
    sum: (x, axes) => reduce('ReduceSum', x, axes),
    mean: (x, axes) => reduce('ReduceMean', x, axes),
    sizes,
    reshapeAs,
    reshape,
    transpose: (x, perm) => (perm.every((axis, i) => axis === i) ? x : op('Transpose', [x], { perm: [...perm] })),
    expandAs,
    sumTo(x, like) {
      const lead = x.shape.length - like.shape.length
      const axes = [...x.shape.keys()].filter((i) => i < lead || (like.shape[i - lead] === 1 && x.shape[i] !== 1))
      return reshapeAs(reduce('ReduceSum', x, axes), like)
    },
    zerosLike: (like) => expandAs(number(0, like), like),
    dropUnread(kept) {
      const read = new Set(kept.map(({ name }) => name))
      for (const { inputs } of graph.nodes) for (const value of inputs) if (value) read.add(value.name)
      graph.removeNodes(({ outputs }) => repeated.has(outputs[0]?.name ?? '') && !read.has(outputs[0]!.name))
    },
    cast: (x, dtype) => (x.dtype === dtype ? x : op('Cast', [x], { to: ELEMENT[dtype] })),
  }
}

/** The number of elements along axes, where it is known. */
export function knownCount(shape: Shape, axes: readonly number[]): Dim {
  return productOf(axes.map((axis) => shape[axis]!))
}
