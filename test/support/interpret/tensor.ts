/** Tensors of any number of axes in float64, and the attributes of a node. */
import type { GraphNode } from '../../../src/graph/builder.js'

export interface Tensor {
  shape: number[]
  data: Float64Array
}

export const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1)
export const tensor = (shape: number[], values: ArrayLike<number>): Tensor => ({
  shape,
  data: Float64Array.from(values),
})
export const stridesOf = (shape: readonly number[]): number[] => shape.map((_, i) => sizeOf(shape.slice(i + 1)))

/** Calls `visit` with every index of a shape, in C order. */
export function each(shape: readonly number[], visit: (index: number[], at: number) => void): void {
  const index = shape.map(() => 0)
  const total = sizeOf(shape)
  for (let at = 0; at < total; at++) {
    visit(index, at)
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      if (++index[axis]! < shape[axis]!) break
      index[axis] = 0
    }
  }
}

/** Element of x at an index of a shape that x is broadcast to. */
export function at(x: Tensor, index: readonly number[]): number {
  const lead = index.length - x.shape.length
  let place = 0
  for (let i = 0; i < x.shape.length; i++) place = place * x.shape[i]! + (x.shape[i] === 1 ? 0 : index[i + lead]!)
  return x.data[place]!
}

export function build(shape: number[], value: (index: number[]) => number): Tensor {
  const data = new Float64Array(sizeOf(shape))
  each(shape, (index, place) => {
    data[place] = value(index)
  })
  return { shape, data }
}

export function broadcast(...tensors: Tensor[]): number[] {
  const rank = Math.max(...tensors.map(({ shape }) => shape.length))
  return Array.from({ length: rank }, (_, i) =>
    Math.max(...tensors.map(({ shape }) => shape[i - rank + shape.length] ?? 1)),
  )
}

export const int = (node: GraphNode, name: string, fallback: number): number =>
  (node.attributes[name] as number | undefined) ?? fallback
export const ints = (node: GraphNode, name: string): number[] | undefined =>
  node.attributes[name] as number[] | undefined
export const float = (node: GraphNode, name: string, fallback: number): number =>
  (node.attributes[name] as { float: number } | undefined)?.float ?? fallback
export const axisOf = (axis: number, rank: number): number => (axis < 0 ? axis + rank : axis)

export type Run = (node: GraphNode, inputs: Tensor[]) => Tensor[]

export function transpose(x: Tensor, perm: readonly number[]): Tensor {
  const strides = stridesOf(x.shape)
  return build(
    perm.map((axis) => x.shape[axis]!),
    (index) => x.data[index.reduce((sum, i, k) => sum + i * strides[perm[k]!]!, 0)]!,
  )
}

export const swapLast = (x: Tensor): Tensor => {
  const rank = x.shape.length
  return transpose(x, [...Array.from({ length: rank - 2 }, (_, i) => i), rank - 1, rank - 2])
}

export function matMul(a: Tensor, b: Tensor, alpha = 1): Tensor {
  const [m, k] = a.shape.slice(-2) as [number, number]
  const n = b.shape.at(-1)!
  const lead = broadcast({ shape: a.shape.slice(0, -2), data: a.data }, { shape: b.shape.slice(0, -2), data: b.data })
  return build([...lead, m, n], (index) => {
    const [row, column] = index.slice(-2) as [number, number]
    const front = index.slice(0, -2)
    let sum = 0
    for (let i = 0; i < k; i++) sum += at(a, [...front, row, i]) * at(b, [...front, i, column])
    return alpha * sum
  })
}

export const sum = (values: number[]): number => values.reduce((a, b) => a + b, 0)
