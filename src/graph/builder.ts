/**
 * A small graph builder. Nodes are added in order and return typed values: element type and shape of every output
 * follow from the operator's rule (operators/), and what does not fit is refused here, by name, instead of by the
 * engine later. Nodes are kept as records until the file is written, so that a pass can walk them (gradients).
 * Weights are kept outside the model file, in one blob that ONNX Runtime maps into memory.
 */
import { float32ToBfloat16, float32ToFloat16 } from '../math/half.js'
import { type ExternalTensor, encodeOnnx } from './onnx-file.js'
import { inferOutputs } from './operators/index.js'
import {
  type Attributes,
  type ConstantTensor,
  describeType,
  type GraphNode,
  graphBug,
  type Port,
  type TensorType,
  type Value,
} from './value.js'

export { type Attributes, ELEMENT, type Element, type GraphNode, type Port, type Value } from './value.js'

/** Element types of weights; float16 and bfloat16 are raw bits. */
export type WeightDtype = 'float32' | 'float16' | 'bfloat16' | 'int8' | 'uint8'
export type WeightData = Float32Array | Uint16Array | Int8Array | Uint8Array
export const WEIGHT_BYTES: Record<WeightDtype, number> = { float32: 4, float16: 2, bfloat16: 2, int8: 1, uint8: 1 }

/** A tensor of the blob. `make` computes it from the checkpoint when the blob is written. */
export interface BlobTensor extends ExternalTensor {
  dtype: WeightDtype
  shape: number[]
  make: () => Promise<WeightData>
}

export type ConstantDtype = 'float32' | 'float64' | 'float16' | 'bfloat16' | 'int64' | 'int8' | 'uint8' | 'bool'
export type ConstantValues = Float32Array | Float64Array | number[]

const CONSTANT_ARRAYS: Record<ConstantDtype, (values: ConstantValues) => ArrayBufferView> = {
  float32: (values) => Float32Array.from(values),
  float64: (values) => Float64Array.from(values),
  float16: (values) => float32ToFloat16(Float32Array.from(values)),
  bfloat16: (values) => float32ToBfloat16(Float32Array.from(values)),
  int64: (values) => BigInt64Array.from(Array.from(values, BigInt)),
  int8: (values) => Int8Array.from(values),
  uint8: (values) => Uint8Array.from(values),
  bool: (values) => Uint8Array.from(values),
}

/** Nodes [start, end) whose values the backward pass computes again instead of keeping them (gradients/). */
export interface GraphSegment {
  start: number
  end: number
}

/** Large tensors start on a page, so that mapping one touches no other. */
const PAGE = 4096
/** Constants of so many elements are known to the rules that infer shapes. */
const KNOWN_ELEMENTS = 64

/** Stands for an output that nobody wants. */
const UNWANTED = ''

export class GraphBuilder {
  readonly inputs: Port[] = []
  readonly outputs: Port[] = []
  readonly blob: BlobTensor[] = []
  /** Every node, in the order of the file. */
  readonly nodes: GraphNode[] = []
  readonly segments: GraphSegment[] = []
  blobBytes = 0
  private readonly constants = new Map<string, { value: Value; raw: Uint8Array }>()
  private readonly used = new Set<string>()
  private readonly computed = new Set<string>()
  private counter = 0
  private readonly prefix: string

  /** `prefix` tells the names of a nested graph from those of the graph around it. */
  constructor(prefix = '') {
    this.prefix = prefix
  }

  input(port: Port): Value {
    this.inputs.push(port)
    return { name: port.name, dtype: port.dtype, shape: port.shape }
  }

  /** Gives a value the name of an output. */
  output(value: Value, port: Port): void {
    const fits =
      value.dtype === port.dtype &&
      value.shape.length === port.shape.length &&
      value.shape.every(
        (size, i) => typeof size === 'string' || typeof port.shape[i] === 'string' || size === port.shape[i],
      )
    if (!fits)
      throw graphBug(`the output ${port.name} is declared as ${describeType(port)}, but it is ${describeType(value)}`)
    const output: Value = { ...value, name: port.name }
    this.nodes.push({ type: 'Identity', inputs: [value], outputs: [output], name: `out.${port.name}`, attributes: {} })
    this.outputs.push(port)
    this.used.add(value.name)
  }

  /** Makes a computed value an output under its own name: nothing copies it. */
  expose(value: Value): string {
    if (!this.isComputed(value)) throw graphBug(`${value.name} was not computed here`)
    this.outputs.push({ name: value.name, dtype: value.dtype as Port['dtype'], shape: [...value.shape] })
    return value.name
  }

  /** Registers a weight; its bytes are computed only when the blob is written. */
  weight(name: string, shape: number[], make: () => Promise<WeightData>, dtype: WeightDtype = 'float32'): Value {
    const bytes = shape.reduce((a, b) => a * b, 1) * WEIGHT_BYTES[dtype]
    const align = bytes >= 65536 ? PAGE : 64
    const offset = Math.ceil(this.blobBytes / align) * align
    this.blob.push({ name, dtype, shape, offset, bytes, make })
    this.blobBytes = offset + bytes
    return { name, dtype, shape }
  }

  /** A small constant inside the model file. Equal constants are shared. */
  constant(values: ConstantValues, shape: number[], dtype: ConstantDtype = 'float32'): Value {
    const raw = Buffer.from(CONSTANT_ARRAYS[dtype](values).buffer as ArrayBuffer)
    const key = `${dtype}[${shape}]${raw.length <= 64 ? raw.toString('hex') : this.counter++}`
    const name = `${this.prefix}const.${key}`
    const found = this.constants.get(name)
    if (found) return found.value
    const elements = values.length <= KNOWN_ELEMENTS ? Array.from(values) : undefined
    const value: Value = elements ? { name, dtype, shape, elements } : { name, dtype, shape }
    this.constants.set(name, { value, raw })
    return value
  }

  /** The little-endian bytes of a constant; undefined for other values. */
  constantBytes({ name }: Value): Uint8Array | undefined {
    return this.constants.get(name)?.raw
  }

  scalar(value: number): Value {
    return this.constant([value], [])
  }

  ints(values: number[]): Value {
    return this.constant(values, [values.length], 'int64')
  }

  /** Adds a node with one output. `type` of the output is only for operators that the table does not have. */
  op(
    type: string,
    inputs: (Value | undefined)[],
    attributes: Attributes = {},
    domain = '',
    output?: TensorType,
  ): Value {
    return this.ops(type, inputs, 1, attributes, domain, undefined, output && [output])[0]!
  }

  /** Adds a node with several outputs. An output that is wanted by nobody gets no name, by `wanted`. */
  ops(
    type: string,
    inputs: (Value | undefined)[],
    count: number,
    attributes: Attributes = {},
    domain = '',
    wanted?: boolean[],
    types?: TensorType[],
  ): Value[] {
    for (const value of inputs) {
      if (value?.name === UNWANTED) throw graphBug(`${type} reads an output that was not wanted`)
    }
    const id = this.counter++
    const inferred = types ?? inferOutputs({ type, domain, inputs, attributes, count })
    const outputs = Array.from({ length: count }, (_, i): Value => {
      const name = wanted && !wanted[i] ? UNWANTED : `${this.prefix}${type}.${id}${i > 0 ? `.${i}` : ''}`
      const { dtype, shape, elements } = inferred[i]!
      return elements ? { name, dtype, shape, elements } : { name, dtype, shape }
    })
    this.nodes.push({
      type,
      domain,
      name: `${this.prefix}${type}.${id}`,
      inputs,
      outputs: outputs.map((value) => (value.name === UNWANTED ? undefined : value)),
      attributes,
    })
    for (const value of inputs) if (value) this.used.add(value.name)
    for (const { name } of outputs) this.computed.add(name)
    return outputs
  }

  /** Whether a node made the value; inputs, weights and constants are given. */
  isComputed({ name }: Value): boolean {
    return this.computed.has(name)
  }

  /** What `build` adds is a segment: its values are computed again by the backward pass, and not kept until then. */
  segment<T>(build: () => T): T {
    const start = this.nodes.length
    const result = build()
    this.segments.push({ start, end: this.nodes.length })
    return result
  }

  /** An output of a node that nobody had wanted, for a pass that reads it. */
  demand(node: GraphNode, index: number): Value {
    const there = node.outputs[index]
    if (there) return there
    const { type, domain = '', inputs, attributes } = node
    const types = inferOutputs({ type, domain, inputs, attributes, count: Math.max(node.outputs.length, index + 1) })
    const value: Value = { ...types[index]!, name: `${node.name}${index > 0 ? `.${index}` : ''}` }
    while (node.outputs.length < index) node.outputs.push(undefined)
    node.outputs[index] = value
    this.computed.add(value.name)
    return value
  }

  /** Puts the nodes that make these values behind all others, in this order; not those of values that a node reads. */
  moveToEnd(values: readonly Value[]): void {
    const read = new Set(this.nodes.flatMap(({ inputs }) => inputs.map((value) => value?.name)))
    const place = new Map(values.flatMap(({ name }, i) => (read.has(name) ? [] : [[name, i] as const])))
    const placeOf = ({ outputs }: GraphNode): number => place.get(outputs[0]?.name ?? '') ?? -1
    // Stable: all others keep their order.
    this.nodes.sort((a, b) => placeOf(a) - placeOf(b))
  }

  /** Takes nodes out that nobody reads. */
  removeNodes(unread: (node: GraphNode) => boolean): void {
    const kept = this.nodes.filter((node) => !unread(node))
    this.nodes.splice(0, this.nodes.length, ...kept)
  }

  /** Adds a node again, with other inputs. */
  repeat({ type, domain, outputs, attributes }: GraphNode, inputs: (Value | undefined)[]): GraphNode {
    const wanted = outputs.map((value) => value !== undefined)
    const types = outputs.map((value) => value ?? { dtype: 'float32' as const, shape: [] })
    this.ops(type, inputs, outputs.length, attributes, domain, wanted, types)
    return this.nodes.at(-1)!
  }

  constantTensors(): ConstantTensor[] {
    return Array.from(this.constants.values(), ({ value, raw }) => ({ ...value, raw }))
  }

  /** The bytes of the .onnx file. `blobName` is the blob's file name beside it. */
  encode(blobName: string): Uint8Array {
    return encodeOnnx({
      nodes: this.nodes,
      constants: this.constantTensors(),
      weights: this.blob.filter(({ name }) => this.used.has(name)),
      inputs: this.inputs,
      outputs: this.outputs,
      blobName,
    })
  }
}
