/**
 * Products whose bits do not depend on the number of threads. Where a product has fewer rows than columns, the CPU's
 * kernel deals strips of columns to its threads, and how it cuts the inner axis, and so the order of a sum, depends on
 * how wide a strip is (ONNX Runtime, onnxruntime/core/mlas/lib/sgemm.cpp: the stride of K follows the count of N). With
 * at least as many rows as columns it deals rows; with the first factor read transposed it cuts all strips alike. So
 * the first factor of such a product is laid out transposed: it has few rows, and the copy is cheap.
 */
import type { GraphBuilder } from './builder.js'
import { type Dim, multiplyDims, type Shape } from './dims.js'
import { type GraphNode, graphBug, type Value } from './value.js'

const PRODUCTS = new Set([':Gemm', ':MatMul', 'com.microsoft:FusedMatMul'])
/** An inner axis that is cut in no case. */
const UNCUT = 128

/** Changes the graph's float32 products with a matrix; its bodies are graphs of their own. */
export function steadyProducts(graph: GraphBuilder): void {
  const transposed = new Map<string, Value>()
  const nodes = graph.nodes.flatMap((node) => (needsIt(node) ? steady(graph, node, transposed) : [node]))
  graph.nodes.splice(0, graph.nodes.length, ...nodes)
}

const rowsOf = ({ shape }: Value): Dim => shape.slice(0, -1).reduce((a, b) => multiplyDims(a, b), 1)

function needsIt({ type, domain = '', inputs: [a, b], attributes }: GraphNode): boolean {
  if (!PRODUCTS.has(`${domain}:${type}`) || a?.dtype !== 'float32' || b?.shape.length !== 2) return false
  if (attributes.transA || a.shape.length < 2) return false
  const inner = a.shape.at(-1)!
  const rows = rowsOf(a)
  const columns = b.shape[attributes.transB ? 0 : 1]!
  if (typeof inner === 'number' && inner <= UNCUT) return false
  return typeof rows !== 'number' || typeof columns !== 'number' || rows < columns
}

function steady(graph: GraphBuilder, node: GraphNode, transposed: Map<string, Value>): GraphNode[] {
  const out: GraphNode[] = []
  const add = (type: string, inputs: Value[], result: Value, attributes: GraphNode['attributes'] = {}): Value => {
    out.push({ type, domain: '', name: `steady.${result.name}`, inputs, outputs: [result], attributes })
    return result
  }
  const [a, ...others] = node.inputs as [Value, ...(Value | undefined)[]]
  const [result] = node.outputs
  if (!result) throw graphBug(`nobody wants the product ${node.name}`)
  const isMatrix = a.shape.length === 2
  const inner = a.shape.at(-1)!
  const rowCount = rowsOf(a)
  const flat = (value: Value, columns: Dim, name: string): Value => {
    return { name, dtype: value.dtype, shape: [rowsOf(value), columns] }
  }
  let turned = transposed.get(a.name)
  if (!turned) {
    // By way of three axes: the engine would take a Transpose that stands right before the product into it again.
    const rows = flat(a, inner, `${a.name}.rows`)
    const stacked = add('Reshape', [a, graph.ints(free([1, rowCount, inner]))], { ...rows, shape: [1, ...rows.shape] })
    const across: Value = { ...rows, name: `${a.name}.across`, shape: [1, inner, rowCount] }
    add('Transpose', [stacked], across, { perm: [0, 2, 1] })
    turned = { ...rows, name: `${a.name}.turned`, shape: [inner, rowCount] }
    add('Reshape', [across, graph.ints(free([inner, rowCount]))], turned)
    transposed.set(a.name, turned)
  }
  const { alpha, transB } = node.attributes
  const attributes = { ...(alpha !== undefined && { alpha }), ...(transB !== undefined && { transB }), transA: 1 }
  const made = isMatrix ? result : flat(result, result.shape.at(-1)!, `${result.name}.rows`)
  out.push({
    ...{ type: 'Gemm', domain: '', name: `steady.${made.name}`, inputs: [turned, ...others], outputs: [made] },
    attributes: node.type === 'Gemm' ? { ...node.attributes, transA: 1 } : attributes,
  })
  if (!isMatrix) add('Reshape', [made, graph.ints(free(result.shape))], result)
  return out
}

/** A shape for Reshape, with -1 for the one size that is known at run time only. */
function free(shape: Shape): number[] {
  const numbers = shape.map((dim) => (typeof dim === 'number' ? dim : -1))
  if (numbers.filter((n) => n === -1).length > 1) throw graphBug(`more than one size of ${shape} is free`)
  return numbers
}
