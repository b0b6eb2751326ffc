/**
 * A small ONNX graph builder. Nodes are added in order and return the names of their outputs; weights are
 * kept outside the model file, in one blob that ONNX Runtime maps into memory.
 *
 * The message definitions below are the subset of onnx.proto (ONNX IR version 9, field numbers from
 * github.com/onnx/onnx, onnx/onnx.proto) that these graphs use.
 */
import protobuf from 'protobufjs'
import { float32ToBfloat16, float32ToFloat16 } from '../math/half.js'

const root = protobuf.Root.fromJSON({
  nested: {
    Model: {
      fields: {
        irVersion: { type: 'int64', id: 1 },
        producerName: { type: 'string', id: 2 },
        graph: { type: 'Graph', id: 7 },
        opsetImport: { rule: 'repeated', type: 'Opset', id: 8 },
      },
    },
    Opset: { fields: { domain: { type: 'string', id: 1 }, version: { type: 'int64', id: 2 } } },
    Graph: {
      fields: {
        node: { rule: 'repeated', type: 'Node', id: 1 },
        name: { type: 'string', id: 2 },
        initializer: { rule: 'repeated', type: 'Tensor', id: 5 },
        input: { rule: 'repeated', type: 'ValueInfo', id: 11 },
        output: { rule: 'repeated', type: 'ValueInfo', id: 12 },
      },
    },
    Node: {
      fields: {
        input: { rule: 'repeated', type: 'string', id: 1 },
        output: { rule: 'repeated', type: 'string', id: 2 },
        name: { type: 'string', id: 3 },
        opType: { type: 'string', id: 4 },
        attribute: { rule: 'repeated', type: 'Attribute', id: 5 },
        domain: { type: 'string', id: 7 },
      },
    },
    Attribute: {
      fields: {
        name: { type: 'string', id: 1 },
        f: { type: 'float', id: 2 },
        i: { type: 'int64', id: 3 },
        s: { type: 'bytes', id: 4 },
        ints: { rule: 'repeated', type: 'int64', id: 8, options: { packed: false } },
        type: { type: 'int32', id: 20 },
      },
    },
    Tensor: {
      fields: {
        dims: { rule: 'repeated', type: 'int64', id: 1, options: { packed: false } },
        dataType: { type: 'int32', id: 2 },
        name: { type: 'string', id: 8 },
        rawData: { type: 'bytes', id: 9 },
        externalData: { rule: 'repeated', type: 'Entry', id: 13 },
        dataLocation: { type: 'int32', id: 14 },
      },
    },
    Entry: { fields: { key: { type: 'string', id: 1 }, value: { type: 'string', id: 2 } } },
    ValueInfo: { fields: { name: { type: 'string', id: 1 }, type: { type: 'Type', id: 2 } } },
    Type: { fields: { tensorType: { type: 'TensorType', id: 1 } } },
    TensorType: { fields: { elemType: { type: 'int32', id: 1 }, shape: { type: 'Shape', id: 2 } } },
    Shape: { fields: { dim: { rule: 'repeated', type: 'Dim', id: 1 } } },
    Dim: { fields: { dimValue: { type: 'int64', id: 1 }, dimParam: { type: 'string', id: 2 } } },
  },
})
const Model = root.lookupType('Model')

/** TensorProto.DataType */
export const ELEMENT = {
  float32: 1,
  uint8: 2,
  int8: 3,
  int32: 6,
  int64: 7,
  float16: 10,
  float64: 11,
  bfloat16: 16,
} as const
export type Element = keyof typeof ELEMENT

/** Element types of weights; float16 and bfloat16 are raw bits. */
export type WeightDtype = 'float32' | 'float16' | 'bfloat16' | 'int8' | 'uint8'
export type WeightData = Float32Array | Uint16Array | Int8Array | Uint8Array
export const WEIGHT_BYTES: Record<WeightDtype, number> = { float32: 4, float16: 2, bfloat16: 2, int8: 1, uint8: 1 }

/** A graph input or output; `N` in the shape is the batch size, free at run time. */
export interface Port {
  name: string
  dtype: 'uint8' | 'float16' | 'float32' | 'float64' | 'int64'
  shape: (number | string)[]
}

export type AttributeValue = number | string | number[] | { float: number }

/** A tensor of the blob. `make` computes it from the checkpoint when the blob is written. */
export interface BlobTensor {
  name: string
  dtype: WeightDtype
  shape: number[]
  offset: number
  bytes: number
  make: () => Promise<WeightData>
}

export type ConstantDtype = 'float32' | 'float16' | 'bfloat16' | 'int64' | 'int8' | 'uint8'

const CONSTANT_ARRAYS: Record<ConstantDtype, (values: Float32Array | number[]) => ArrayBufferView> = {
  float32: (values) => Float32Array.from(values),
  float16: (values) => float32ToFloat16(Float32Array.from(values)),
  bfloat16: (values) => float32ToBfloat16(Float32Array.from(values)),
  int64: (values) => BigInt64Array.from(Array.from(values, BigInt)),
  int8: (values) => Int8Array.from(values),
  uint8: (values) => Uint8Array.from(values),
}

/** Large tensors start on a page, so that mapping one touches no other. */
const PAGE = 4096

export class GraphBuilder {
  readonly inputs: Port[] = []
  readonly outputs: Port[] = []
  readonly blob: BlobTensor[] = []
  blobBytes = 0
  private readonly nodes: object[] = []
  private readonly constants = new Map<string, object>()
  private readonly used = new Set<string>()
  private counter = 0

  input(port: Port): string {
    this.inputs.push(port)
    return port.name
  }

  /** Gives a value the name of an output. */
  output(value: string, port: Port): void {
    this.nodes.push({ opType: 'Identity', input: [value], output: [port.name], name: `out.${port.name}` })
    this.outputs.push(port)
    this.used.add(value)
  }

  /** Registers a weight; its bytes are computed only when the blob is written. */
  weight(name: string, shape: number[], make: () => Promise<WeightData>, dtype: WeightDtype = 'float32'): string {
    const bytes = shape.reduce((a, b) => a * b, 1) * WEIGHT_BYTES[dtype]
    const align = bytes >= 65536 ? PAGE : 64
    const offset = Math.ceil(this.blobBytes / align) * align
    this.blob.push({ name, dtype, shape, offset, bytes, make })
    this.blobBytes = offset + bytes
    return name
  }

  /** A small constant inside the model file. Equal constants are shared. */
  constant(values: Float32Array | number[], shape: number[], dtype: ConstantDtype = 'float32'): string {
    const raw = Buffer.from(CONSTANT_ARRAYS[dtype](values).buffer as ArrayBuffer)
    const key = `${dtype}[${shape}]${raw.length <= 64 ? raw.toString('hex') : this.counter++}`
    const name = `const.${key}`
    if (!this.constants.has(name)) {
      this.constants.set(name, { name, dims: shape, dataType: ELEMENT[dtype], rawData: raw })
    }
    return name
  }

  scalar(value: number): string {
    return this.constant([value], [])
  }

  ints(values: number[]): string {
    return this.constant(values, [values.length], 'int64')
  }

  /** Adds a node with one output and returns its name. */
  op(type: string, inputs: string[], attributes: Record<string, AttributeValue> = {}, domain = ''): string {
    return this.ops(type, inputs, 1, attributes, domain)[0]!
  }

  /** Adds a node with several outputs. An output that is wanted by nobody may be named '' via `wanted`. */
  ops(
    type: string,
    inputs: string[],
    count: number,
    attributes: Record<string, AttributeValue> = {},
    domain = '',
    wanted?: boolean[],
  ): string[] {
    const id = this.counter++
    const output = Array.from({ length: count }, (_, i) =>
      wanted && !wanted[i] ? '' : `${type}.${id}${i > 0 ? `.${i}` : ''}`,
    )
    const attribute = Object.entries(attributes).map(([name, value]) => encodeAttribute(name, value))
    this.nodes.push({ opType: type, input: inputs, output, name: `${type}.${id}`, domain, attribute })
    for (const name of inputs) this.used.add(name)
    return output
  }

  /** The bytes of the .onnx file. `blobName` is the blob's file name beside it. */
  encode(blobName: string): Uint8Array {
    const initializer = [
      ...this.constants.values(),
      ...this.blob
        .filter(({ name }) => this.used.has(name))
        .map(({ name, dtype, shape, offset, bytes }) => ({
          name,
          dims: shape,
          dataType: ELEMENT[dtype],
          dataLocation: 1,
          externalData: [
            { key: 'location', value: blobName },
            { key: 'offset', value: String(offset) },
            { key: 'length', value: String(bytes) },
          ],
        })),
    ]
    const model = {
      irVersion: 9,
      producerName: 'vtp',
      opsetImport: [
        { domain: '', version: 20 },
        { domain: 'com.microsoft', version: 1 },
      ],
      graph: {
        name: 'vtp',
        node: this.nodes,
        initializer,
        input: this.inputs.map(encodePort),
        output: this.outputs.map(encodePort),
      },
    }
    return Model.encode(Model.fromObject(model)).finish()
  }
}

function encodeAttribute(name: string, value: AttributeValue): object {
  if (Array.isArray(value)) return { name, ints: value, type: 7 }
  if (typeof value === 'object') return { name, f: value.float, type: 1 }
  if (typeof value === 'string') return { name, s: Buffer.from(value), type: 3 }
  return { name, i: value, type: 2 }
}

function encodePort({ name, dtype, shape }: Port): object {
  const dim = shape.map((d) => (typeof d === 'number' ? { dimValue: d } : { dimParam: d }))
  return { name, type: { tensorType: { elemType: ELEMENT[dtype], shape: { dim } } } }
}
