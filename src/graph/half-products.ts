/**
 * Matrix products in half precision inside a float32 graph: what autocast does to a training. Every product of the
 * graph, those of the backward pass included, gets its factors as float16 or bfloat16 and gives its result as that;
 * everything else, parameters and sums of gradients included, stays float32. A factor is rounded once, however many
 * products read it.
 *
 * `emulated` is for devices without such products: factors and results are rounded, and the product itself is one of
 * float32. Products of two halves are exact there, so that this differs from a native product in the order of sums only.
 */
import type { GraphBuilder } from './builder.js'
import { ELEMENT, type GraphNode, graphBug, type Value } from './value.js'

export type HalfType = 'float16' | 'bfloat16'

const PRODUCTS = new Set([':Gemm', ':MatMul', 'com.microsoft:FusedMatMul', 'com.microsoft:MultiHeadAttention'])

export interface HalfOptions {
  type: HalfType
  /** Float32 products of rounded factors. */
  emulated: boolean
}

/** Changes the graph's float32 products; its bodies are graphs of their own. For a graph that is built to its end. */
export function halveProducts(graph: GraphBuilder, options: HalfOptions): void {
  const pass = new HalfPass(options)
  const nodes = graph.nodes.flatMap((node) => (isProduct(node) ? pass.product(node) : [node]))
  graph.nodes.splice(0, graph.nodes.length, ...nodes)
}

function isProduct({ type, domain = '', inputs }: GraphNode): boolean {
  return PRODUCTS.has(`${domain}:${type}`) && inputs[0]?.dtype === 'float32'
}

class HalfPass {
  /** What a float32 value is in products. */
  private readonly halves = new Map<string, Value>()
  private readonly options: HalfOptions

  constructor(options: HalfOptions) {
    this.options = options
  }

  product(node: GraphNode): GraphNode[] {
    const { type } = this.options
    const out: GraphNode[] = []
    const inputs = node.inputs.map((value) => value && this.half(value, out))
    const [result, ...others] = node.outputs
    if (!result || others.some(Boolean)) throw graphBug(`${node.name} has other outputs than its product`)
    const dtype = this.options.emulated ? 'float32' : type
    const exact: Value = { ...result, name: `${result.name}.exact`, dtype }
    out.push({ ...node, inputs, outputs: [exact] })
    const half = this.options.emulated ? this.cast(exact, type, `${result.name}.half`, out) : exact
    this.cast(half, 'float32', result.name, out)
    this.halves.set(result.name, this.options.emulated ? result : half)
    return out
  }

  /** The value rounded to halves; one that came out of a product is. */
  private half(value: Value, out: GraphNode[]): Value {
    if (value.dtype !== 'float32') return value
    const known = this.halves.get(value.name)
    if (known) return known
    const rounded = this.cast(value, this.options.type, `${value.name}.as-half`, out)
    const given = this.options.emulated ? this.cast(rounded, 'float32', `${value.name}.rounded`, out) : rounded
    this.halves.set(value.name, given)
    return given
  }

  private cast(value: Value, dtype: HalfType | 'float32', name: string, out: GraphNode[]): Value {
    const result: Value = { name, dtype, shape: value.shape }
    out.push({
      ...{ type: 'Cast', domain: '', name: `cast.${name}`, inputs: [value], outputs: [result] },
      attributes: { to: ELEMENT[dtype] },
    })
    return result
  }
}
