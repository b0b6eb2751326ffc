/**
 * The bytes of an .onnx file. The message definitions below are the subset of onnx.proto (ONNX IR version 9, field
 * numbers from github.com/onnx/onnx, onnx/onnx.proto) that these graphs use. Weights stay outside the file, in a blob
 * beside it that ONNX Runtime maps into memory.
 */
import protobuf from 'protobufjs'
import { type AttributeValue, type ConstantTensor, ELEMENT, type Element, type GraphNode, type Port } from './value.js'

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
        g: { type: 'Graph', id: 6 },
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

export interface TensorMessage {
  name: string
  dims: number[]
  dataType: number
  rawData?: Uint8Array
}

export interface NodeMessage {
  opType: string
  name: string
  input: string[]
  output: string[]
  attribute: { name: string; type: number; i?: number; f?: number; ints?: number[]; g?: ModelMessage['graph'] }[]
}

/** What a pass over a finished file reads and changes of it. */
export interface ModelMessage {
  graph: { node: NodeMessage[]; initializer: TensorMessage[] }
}

export function decodeModel(bytes: Uint8Array): ModelMessage {
  return Model.decode(bytes) as unknown as ModelMessage
}

export function encodeModel(model: ModelMessage): Uint8Array {
  return Model.encode(Model.fromObject(model)).finish()
}

/** A tensor of the blob beside the file. */
export interface ExternalTensor {
  name: string
  dtype: Element
  shape: readonly number[]
  offset: number
  bytes: number
}

export interface GraphFileParts {
  nodes: readonly GraphNode[]
  constants: Iterable<ConstantTensor>
  weights: readonly ExternalTensor[]
  inputs: readonly Port[]
  outputs: readonly Port[]
  /** The blob's file name. */
  blobName: string
}

const encodeConstant = ({ name, dtype, shape, raw }: ConstantTensor): object => ({
  name,
  dims: shape,
  dataType: ELEMENT[dtype],
  rawData: raw,
})

export function encodeOnnx({ nodes, constants, weights, inputs, outputs, blobName }: GraphFileParts): Uint8Array {
  const initializer = [
    ...Array.from(constants, encodeConstant),
    ...weights.map(({ name, dtype, shape, offset, bytes }) => ({
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
      node: nodes.map(encodeNode),
      initializer,
      input: inputs.map(encodePort),
      output: outputs.map(encodePort),
    },
  }
  return Model.encode(Model.fromObject(model)).finish()
}

function encodeNode({ type, domain, name, inputs, outputs, attributes }: GraphNode): object {
  return {
    opType: type,
    input: inputs.map((value) => value?.name ?? ''),
    output: outputs.map((value) => value?.name ?? ''),
    name,
    ...(domain !== undefined && { domain }),
    attribute: Object.entries(attributes).map(([key, value]) => encodeAttribute(key, value)),
  }
}

function encodeAttribute(name: string, value: AttributeValue): object {
  if (typeof value === 'number') return { name, i: value, type: 2 }
  if (typeof value === 'string') return { name, s: Buffer.from(value), type: 3 }
  if ('float' in value) return { name, f: value.float, type: 1 }
  if ('graph' in value) {
    const { nodes, inputs, outputs } = value.graph
    const initializer = value.graph.constantTensors().map(encodeConstant)
    const g = {
      name,
      node: nodes.map(encodeNode),
      initializer,
      input: inputs.map(encodePort),
      output: outputs.map(encodePort),
    }
    return { name, g, type: 5 }
  }
  return { name, ints: value, type: 7 }
}

function encodePort({ name, dtype, shape }: Port): object {
  const dim = shape.map((d) => (typeof d === 'number' ? { dimValue: d } : { dimParam: d }))
  return { name, type: { tensorType: { elemType: ELEMENT[dtype], shape: { dim } } } }
}
