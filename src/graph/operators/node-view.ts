/** A node as the rule that infers its outputs sees it: inputs, attributes and what is known of small constants. */
import type { Dim, Shape } from '../dims.js'
import { type Attributes, describeType, type Element, graphBug, type TensorType, type Value } from '../value.js'

export interface NodeView {
  readonly type: string
  readonly domain: string
  readonly inputs: readonly (Value | undefined)[]
  readonly attributes: Attributes
  /** How many outputs are asked for. */
  readonly count: number
}

/** From a node to the types of its outputs, in their order. */
export type Infer = (node: NodeView) => TensorType[]

/** What the graph knows about an operator. */
export interface Operator {
  infer: Infer
}

/** Operators by `domain:type`; ONNX's own domain is ''. */
export type OperatorTable = Readonly<Record<string, Operator>>

export const MICROSOFT = 'com.microsoft'

export function refuse(node: NodeView, what: string): never {
  const inputs = node.inputs.map((value) => (value ? `${value.name} ${describeType(value)}` : 'none')).join(', ')
  throw graphBug(`${node.type}: ${what} (inputs: ${inputs})`)
}

export function inputOf(node: NodeView, index: number): Value {
  const value = node.inputs[index]
  return value ?? refuse(node, `input ${index} is missing`)
}

export function intOf(node: NodeView, name: string, fallback: number): number {
  const value = node.attributes[name]
  if (value === undefined) return fallback
  return typeof value === 'number' ? value : refuse(node, `the attribute ${name} is not a whole number`)
}

export function intsOf(node: NodeView, name: string): readonly number[] | undefined {
  const value = node.attributes[name]
  if (value === undefined) return undefined
  if (typeof value === 'object' && 'length' in value) return value
  return refuse(node, `the attribute ${name} is not a list of whole numbers`)
}

/** An axis as a number from 0. */
export function axisOf(node: NodeView, axis: number, rank: number): number {
  const found = axis < 0 ? axis + rank : axis
  return found >= 0 && found < rank ? found : refuse(node, `the axis ${axis} is outside of ${rank} axes`)
}

/** The elements of a constant input; they may hold symbols. */
export function elementsOf(node: NodeView, index: number): readonly Dim[] {
  return inputOf(node, index).elements ?? refuse(node, `input ${index} must be known while the graph is built`)
}

/** The elements of a constant input that hold no symbols. */
export function numbersOf(node: NodeView, index: number): number[] {
  return elementsOf(node, index).map((value) =>
    typeof value === 'number' ? value : refuse(node, `input ${index} holds the unknown size ${value}`),
  )
}

/** Refuses inputs of different element types. */
export function sameDtype(node: NodeView, indices: readonly number[]): Element {
  const { dtype } = inputOf(node, indices[0]!)
  for (const index of indices) {
    const other = node.inputs[index]
    if (other && other.dtype !== dtype) refuse(node, `${other.dtype} does not go with ${dtype}`)
  }
  return dtype
}

/** The size that two sizes are broadcast to. Different symbols may be equal at run time: the first one stands for both. */
export function broadcastDim(node: NodeView, a: Dim, b: Dim): Dim {
  if (a === b || b === 1) return a
  if (a === 1) return b
  if (typeof a === 'number' && typeof b === 'number') refuse(node, `the size ${b} does not go with ${a}`)
  return typeof b === 'number' ? b : a
}

/** The common shape of values by NumPy's rules. */
export function broadcastShapes(node: NodeView, shapes: readonly Shape[]): Shape {
  const rank = Math.max(...shapes.map((shape) => shape.length))
  return Array.from({ length: rank }, (_, i) =>
    shapes.reduce<Dim>((size, shape) => broadcastDim(node, size, shape[i - rank + shape.length] ?? 1), 1),
  )
}

/** Sizes that must be equal; symbols may be. */
export function expectSame(node: NodeView, what: string, a: Dim | undefined, b: Dim | undefined): void {
  if (a === undefined || b === undefined || (typeof a === 'number' && typeof b === 'number' && a !== b))
    refuse(node, `${what}: ${a} and ${b} differ`)
}
