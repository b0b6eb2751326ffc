/**
 * What flows through a graph while it is built: a value has a name, an element type and a shape, so that a mistake is
 * found where it is made and a pass over the nodes (gradients) knows what it sees.
 */
import { VtpError } from '../errors.js'
import type { Dim, Shape } from './dims.js'

/** TensorProto.DataType */
export const ELEMENT = {
  float32: 1,
  uint8: 2,
  int8: 3,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
  float64: 11,
  bfloat16: 16,
} as const
export type Element = keyof typeof ELEMENT

const ELEMENT_NAMES = new Map<number, Element>(Object.entries(ELEMENT).map(([name, id]) => [id, name as Element]))

/** The element type that ONNX gives a number, as the attribute `to` of Cast. */
export function elementOf(id: number): Element {
  const name = ELEMENT_NAMES.get(id)
  if (!name) throw graphBug(`the element type ${id} is not one that graphs use`)
  return name
}

/** Element type and shape. */
export interface TensorType {
  readonly dtype: Element
  readonly shape: Shape
  /** The elements in C order where they are known while the graph is built: small constants, and sizes made of them. */
  readonly elements?: readonly Dim[]
}

export interface Value extends TensorType {
  readonly name: string
}

/** A graph input or output; a name in the shape, as `N`, is a size that is free at run time. */
export interface Port {
  name: string
  dtype: 'uint8' | 'float16' | 'float32' | 'float64' | 'int32' | 'int64' | 'bool'
  shape: (number | string)[]
}

/** A constant inside the file. */
export interface ConstantTensor {
  name: string
  dtype: Element
  shape: Shape
  raw: Uint8Array
}

/** A graph inside a node (the body of a Loop); it sees the values of the graph around it. */
export interface NestedGraph {
  readonly nodes: readonly GraphNode[]
  readonly inputs: readonly Port[]
  readonly outputs: readonly Port[]
  constantTensors(): ConstantTensor[]
}

/** An attribute that holds a float says so, because 1 would be an integer. */
export type AttributeValue =
  | number
  | string
  | readonly number[]
  | { readonly float: number }
  | { readonly graph: NestedGraph }
export type Attributes = Readonly<Record<string, AttributeValue>>

/** A node as a pass over the graph sees it. Optional inputs and unwanted outputs are undefined. */
export interface GraphNode {
  readonly type: string
  /** '' is ONNX's own; undefined only where the file leaves it out, too. */
  readonly domain?: string
  readonly name: string
  readonly inputs: readonly (Value | undefined)[]
  /** A pass may ask for one that nobody wanted (`GraphBuilder.demand`). */
  readonly outputs: (Value | undefined)[]
  readonly attributes: Attributes
}

/** `float32 [N, 257, 768]`, for messages. */
export function describeType({ dtype, shape }: TensorType): string {
  return `${dtype} [${shape.join(', ')}]`
}

/** A mistake of the program that builds a graph. */
export function graphBug(message: string): VtpError {
  return new VtpError(`The graph cannot be built: ${message}`, { code: 'graph_bug' })
}
