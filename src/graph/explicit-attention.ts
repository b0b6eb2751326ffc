/**
 * Attention written out: MultiHeadAttention as Reshape, Transpose, MatMul, Softmax, MatMul. ONNX Runtime's fused
 * kernel for WebGPU steps through the keys by the size of a subgroup and gives wrong numbers from 32 tokens on where an
 * adapter's subgroups are small; the plain operators are right on every adapter. It works on a finished file
 * (sound-kernels.ts), so that every graph of every family is covered, whoever built it.
 */
import type { ModelMessage, NodeMessage, TensorMessage } from './onnx-file.js'
import { ELEMENT, graphBug } from './value.js'

/** What a hidden score becomes: small enough for weight 0, and a number in float16 as well. */
const HIDDEN = -60000

type GraphMessage = ModelMessage['graph']

/** Replaces MultiHeadAttention in place; says whether there was any. */
export function writeOutAttention({ graph }: ModelMessage): boolean {
  return rewrite(
    graph,
    graph.initializer.some(({ dataType }) => dataType === ELEMENT.float16),
  )
}

function rewrite(graph: GraphMessage, half: boolean): boolean {
  const nodes: NodeMessage[] = []
  let found = false
  for (const node of graph.node) {
    for (const { g } of node.attribute) if (g && rewrite(g, half)) found = true
    if (node.opType !== 'MultiHeadAttention') nodes.push(node)
    else {
      nodes.push(...writeOut(node, graph.initializer, half))
      found = true
    }
  }
  graph.node = nodes
  return found
}

function writeOut(node: NodeMessage, initializer: TensorMessage[], half: boolean): NodeMessage[] {
  const [q, k, v, ...more] = node.input
  if (!q || !k || !v || more.some(Boolean)) throw graphBug(`${node.name}: attention with other inputs than q, k and v`)
  const attribute = (name: string) => node.attribute.find((entry) => entry.name === name)
  const heads = Number(attribute('num_heads')!.i)
  const scale = attribute('scale')!.f!
  const nodes: NodeMessage[] = []
  const name = (part: string): string => `${node.name}.${part}`
  const constant = (part: string, values: Float32Array | BigInt64Array, dims: number[]): string => {
    const dataType = values instanceof Float32Array ? ELEMENT.float32 : ELEMENT.int64
    const rawData = new Uint8Array(values.buffer as ArrayBuffer)
    initializer.push({ name: name(part), dims, dataType, rawData })
    return name(part)
  }
  const add = (part: string, opType: string, input: string[], attribute: NodeMessage['attribute'] = []): string => {
    nodes.push({ opType, name: name(part), input, output: [name(part)], attribute })
    return name(part)
  }
  const typed = (part: string, value: string): string =>
    half ? add(part, 'Cast', [value], [{ name: 'to', i: ELEMENT.float16, type: 2 }]) : value
  const split = constant('split', BigInt64Array.of(0n, 0n, BigInt(heads), -1n), [4])
  const byHead = (part: string, value: string, perm: number[]): string =>
    add(part, 'Transpose', [add(`${part}.heads`, 'Reshape', [value, split])], [{ name: 'perm', ints: perm, type: 7 }])
  const factor = typed('factor', constant('scale', Float32Array.of(scale), [1]))
  const scaled = add('scaled', 'Mul', [byHead('q', q, [0, 2, 1, 3]), factor])
  let scores = add('scores', 'MatMul', [scaled, byHead('k', k, [0, 2, 3, 1])]) // [N, heads, L, M]
  if (Number(attribute('unidirectional')?.i ?? 0) === 1) {
    const size = add('size', 'Shape', [scores], [{ name: 'start', i: 2, type: 2 }])
    const all = add('hidden', 'Expand', [constant('low', Float32Array.of(HIDDEN), [1, 1]), size])
    const behind = add('behind', 'Trilu', [all, constant('one', BigInt64Array.of(1n), [])])
    scores = add('seen', 'Add', [scores, typed('mask', behind)])
  }
  const weights = add('weights', 'Softmax', [scores], [{ name: 'axis', i: -1, type: 2 }])
  const mixed = add('mixed', 'MatMul', [weights, byHead('v', v, [0, 2, 1, 3])])
  const rows = add('rows', 'Transpose', [mixed], [{ name: 'perm', ints: [0, 2, 1, 3], type: 7 }])
  const join = constant('join', BigInt64Array.of(0n, 0n, -1n), [3])
  nodes.push({ opType: 'Reshape', name: name('out'), input: [rows, join], output: node.output, attribute: [] })
  return nodes
}
