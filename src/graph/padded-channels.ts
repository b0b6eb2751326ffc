/**
 * Convolutions with zeros for further input channels. ONNX Runtime's WebGPU kernel reads channels by fours where their
 * number is a multiple of 4 and by threes where it is one of 3, and gives wrong numbers by threes when there are more
 * than three (found with 6, 9, 15 and 18 channels; 3, 5, 7, 10, 11, 13, 14 and 22 are right). Padded to a multiple of 4
 * they take the other way; zeros add nothing.
 */
import type { ModelMessage, NodeMessage, TensorMessage } from './onnx-file.js'
import { ELEMENT } from './value.js'

const isWrong = (channels: number): boolean => channels > 3 && channels % 3 === 0 && channels % 4 !== 0

/** Pads, in place, convolutions whose channels WebGPU reads wrongly; says whether there was any. */
export function padChannels({ graph }: ModelMessage): boolean {
  const shapes = new Map(graph.initializer.map(({ name, dims }) => [name, dims.map(Number)]))
  const nodes: NodeMessage[] = []
  for (const node of graph.node) {
    const [x = '', weight = ''] = node.input
    const shape = shapes.get(weight)
    const group = Number(node.attribute.find(({ name }) => name === 'group')?.i ?? 1)
    if (node.opType === 'Conv' && group === 1 && shape && isWrong(shape[1]!)) {
      const pads = padsOf(node, shape, graph.initializer)
      const padded = [x, weight].map((input, at) => {
        const output = `${node.name}.${at === 0 ? 'x' : 'weight'}.padded`
        nodes.push({ opType: 'Pad', name: output, input: [input, pads], output: [output], attribute: [] })
        return output
      })
      node.input = [...padded, ...node.input.slice(2)]
    }
    nodes.push(node)
  }
  const found = nodes.length > graph.node.length
  graph.node = nodes
  return found
}

/** Zeros behind the second dimension, of the input and of the weight alike. */
function padsOf(node: NodeMessage, shape: number[], initializer: TensorMessage[]): string {
  const name = `${node.name}.pads`
  const pads = new BigInt64Array(2 * shape.length)
  pads[shape.length + 1] = BigInt(4 - (shape[1]! % 4))
  initializer.push({ name, dims: [pads.length], dataType: ELEMENT.int64, rawData: new Uint8Array(pads.buffer) })
  return name
}
