/**
 * Runs a graph's nodes in float64, each operator written down from its definition. Slow and simple: what gradients
 * and the engine are compared with.
 */
import type { GraphBuilder, GraphNode, Value } from '../../../src/graph/builder.js'
import { ARRANGE } from './arrange.js'
import { NETWORKS } from './networks.js'
import { POINTWISE } from './pointwise.js'
import { type Run, type Tensor, tensor } from './tensor.js'

export { type Tensor, tensor } from './tensor.js'

const OPERATORS: Record<string, Run> = { ...POINTWISE, ...ARRANGE, ...NETWORKS }

function constantOf(graph: GraphBuilder, value: Value): Tensor | undefined {
  const bytes = graph.constantBytes(value)
  if (!bytes) return undefined
  const { buffer, byteOffset, byteLength } = bytes.slice()
  const numbers = {
    float32: () => new Float32Array(buffer, byteOffset, byteLength / 4),
    float64: () => new Float64Array(buffer, byteOffset, byteLength / 8),
    int64: () => Array.from(new BigInt64Array(buffer, byteOffset, byteLength / 8), Number),
    bool: () => bytes,
  }[value.dtype as 'float32']()
  return tensor(value.shape as number[], numbers)
}

/** Values of all nodes by name, for given inputs. Names of operators that it lacks are thrown. */
export function interpret(
  graph: GraphBuilder,
  inputs: Record<string, Tensor>,
  nodes: readonly GraphNode[] = graph.nodes,
): Map<string, Tensor> {
  const values = new Map(Object.entries(inputs))
  for (const node of nodes) {
    const given = node.inputs.map((value) => {
      if (!value) return undefined
      const found = values.get(value.name) ?? constantOf(graph, value)
      if (!found) throw new Error(`${node.name} reads ${value.name}, which nobody made`)
      return found
    }) as Tensor[]
    // Reshape, Squeeze and the like: the shape is what the graph says it is.
    const moves = ['Reshape', 'Unsqueeze', 'Squeeze'].includes(node.type)
    const run = OPERATORS[node.type]
    if (!moves && !run) throw new Error(`the interpreter does not know ${node.type}`)
    const outputs = moves ? [tensor(reshaped(node, given), given[0]!.data)] : run!(node, given)
    node.outputs.forEach((value, i) => {
      if (value) values.set(value.name, outputs[i]!)
    })
  }
  return values
}

function reshaped(node: GraphNode, [x, second]: Tensor[]): number[] {
  const { shape } = node.outputs[0]!
  if (shape.every((size) => typeof size === 'number')) return shape as number[]
  const wanted = [...second!.data].map((size, i) => (size === 0 ? x!.shape[i]! : size))
  const rest = wanted.filter((size) => size !== -1).reduce((a, b) => a * b, 1)
  return wanted.map((size) => (size === -1 ? x!.data.length / rest : size))
}
