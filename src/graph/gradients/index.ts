/**
 * Reverse-mode gradients over the nodes of a graph. The pass walks them from the loss back; the rule of each operator
 * (the table below, beside the operators' own) adds forward nodes that make the gradients of its inputs from those of
 * its outputs. No operator of training is needed: the released build of ONNX Runtime has none. An operator without a
 * rule is refused by its name when the graph is built.
 *
 * Segments (`GraphBuilder.segment`) are parts of the forward whose values are not kept: the pass adds their nodes once
 * more, from their inputs, and differentiates the copies (activation checkpointing).
 */
import type { GraphBuilder, GraphSegment } from '../builder.js'
import { type GraphNode, graphBug, type Value } from '../value.js'
import { type Arithmetic, arithmeticOf, isFloat } from './arithmetic.js'
import { ARRANGE_GRADIENTS } from './arrange.js'
import { CONVOLUTION_GRADIENTS } from './convolutions.js'
import { ELEMENTWISE_GRADIENTS } from './elementwise.js'
import { NORM_GRADIENTS } from './norms.js'
import { PRODUCT_GRADIENTS } from './products.js'
import { REDUCE_GRADIENTS } from './reduce.js'
import { type Backward, type GradientTable, refusal } from './rule.js'

export const GRADIENTS: GradientTable = {
  ...ELEMENTWISE_GRADIENTS,
  ...ARRANGE_GRADIENTS,
  ...REDUCE_GRADIENTS,
  ...PRODUCT_GRADIENTS,
  ...NORM_GRADIENTS,
  ...CONVOLUTION_GRADIENTS,
}

export interface GradientOptions {
  /** The gradient of the loss itself: 1, or the weight of one of several parts of a sum; a value that is known later. */
  seed?: number | Value
  /** Casts to a coarser type pass gradients on as they are; otherwise they round them, as PyTorch's do. */
  straightThrough?: boolean
  /** Values that count as constants, although they depend on what gradients are asked for. */
  held?: readonly Value[]
  /** A float32 input that is 1, for segments: keeps the engine from taking a repeated computation for the first. */
  unit?: Value
}

/**
 * The gradients of a scalar `loss` by each of `wrt`, which are inputs or weights (or any values) of the graph.
 * A value that the loss does not depend on is refused.
 */
export function addGradients(
  graph: GraphBuilder,
  loss: Value,
  wrt: readonly Value[],
  options: GradientOptions = {},
): Value[] {
  if (loss.shape.length > 0) throw graphBug(`the loss ${loss.name} has the shape [${loss.shape}], not one value`)
  const pass = new GradientPass(graph, options, wrt)
  const { seed = 1 } = options
  pass.gradients.set(loss.name, typeof seed === 'number' ? arithmeticOf(graph).number(seed, loss) : seed)
  pass.walk(graph.nodes.slice(), graph.segments)
  const found = wrt.map((value) => {
    const gradient = pass.gradients.get(value.name)
    if (!gradient) throw graphBug(`the loss does not depend on ${value.name}`)
    return gradient
  })
  pass.maths.dropUnread(found)
  return found
}

class GradientPass {
  /** By name of the value. */
  readonly gradients = new Map<string, Value>()
  private readonly wanted: Set<string>
  private readonly held: ReadonlySet<string>
  readonly maths: Arithmetic
  private readonly graph: GraphBuilder
  private readonly options: GradientOptions

  constructor(graph: GraphBuilder, options: GradientOptions, wrt: readonly Value[]) {
    this.graph = graph
    this.options = options
    this.maths = arithmeticOf(graph)
    this.held = new Set(options.held?.map(({ name }) => name))
    // What depends on the values that gradients are asked for.
    this.wanted = new Set(wrt.map(({ name }) => name))
    for (const node of graph.nodes) this.spreadWanted(node)
  }

  private spreadWanted({ inputs, outputs }: GraphNode): void {
    if (!inputs.some((value) => value && this.wanted.has(value.name))) return
    for (const value of outputs) if (value && isFloat(value) && !this.held.has(value.name)) this.wanted.add(value.name)
  }

  walk(nodes: readonly GraphNode[], segments: readonly GraphSegment[]): void {
    for (let at = nodes.length - 1; at >= 0; at--) {
      const segment = segments.find(({ end }) => end === at + 1)
      if (segment) {
        this.repeat(nodes.slice(segment.start, segment.end))
        at = segment.start
      } else this.visit(nodes[at]!)
    }
  }

  /** Adds a segment's nodes again, from its inputs, and walks the copies. */
  private repeat(nodes: readonly GraphNode[]): void {
    const reached = nodes.some(({ outputs }) => outputs.some((value) => value && this.gradients.has(value.name)))
    if (!reached) return
    if (!this.options.unit) throw graphBug('gradients of a graph with segments need a unit')
    const unit = this.afterGradients(nodes, this.options.unit)
    const made = new Set(nodes.flatMap(({ outputs }) => outputs.flatMap((value) => (value ? [value.name] : []))))
    /** What a name of the first computation is called in the second. */
    const renamed = new Map<string, Value>()
    const entries: [Value, Value][] = []
    const translate = (value: Value): Value => {
      const known = renamed.get(value.name)
      if (known) return known
      const computed = this.graph.isComputed(value) && this.wanted.has(value.name)
      if (made.has(value.name) || !computed) return value
      // A value from before the segment, times 1: the engine cannot know that both computations are one.
      const again = this.maths.mul(value, value.dtype === unit.dtype ? unit : this.maths.cast(unit, value.dtype))
      renamed.set(value.name, again)
      this.wanted.add(again.name)
      entries.push([value, again])
      return again
    }
    const copies = nodes.map((node) => {
      const copy = this.graph.repeat(
        node,
        node.inputs.map((value) => value && translate(value)),
      )
      node.outputs.forEach((value, i) => {
        const again = copy.outputs[i]
        if (!value || !again) return
        renamed.set(value.name, again)
        if (this.wanted.has(value.name)) this.wanted.add(again.name)
        const d = this.gradients.get(value.name)
        if (d) this.gradients.set(again.name, d)
      })
      return copy
    })
    this.walk(copies, [])
    for (const [value, again] of entries) {
      const d = this.gradients.get(again.name)
      if (d) this.give(value, d)
    }
  }

  /**
   * The unit, known only once the gradient of the segment's last output is. The engine would otherwise be free to
   * compute all segments again before the first of their gradients, and to keep everything after all.
   */
  private afterGradients(nodes: readonly GraphNode[], unit: Value): Value {
    const last = nodes.findLast(({ outputs }) => outputs[0] && this.gradients.has(outputs[0].name))
    const d = last && this.gradients.get(last.outputs[0]!.name)
    if (!d || d.dtype !== unit.dtype) return unit
    const flat = this.maths.op('Reshape', [d, this.maths.ints([-1])])
    const first = this.maths.op('Gather', [flat, this.graph.constant([0], [], 'int64')], { axis: 0 })
    return this.maths.op('Min', [this.maths.op('Max', [first, unit]), unit])
  }

  private visit(node: GraphNode): void {
    const upstream = node.outputs.map((value) => value && this.gradients.get(value.name))
    if (upstream.every((d) => d === undefined)) return
    if (!node.inputs.some((value) => value && this.wanted.has(value.name))) return
    if (this.options.straightThrough && node.type === 'Cast' && isFloat(node.inputs[0]!)) {
      this.give(node.inputs[0]!, upstream[0]!)
      return
    }
    const rule = GRADIENTS[`${node.domain ?? ''}:${node.type}`]
    if (!rule) throw refusal(node, 'there is no rule for it')
    const slopes = rule(this.backward(node, upstream))
    node.inputs.forEach((value, i) => {
      const d = slopes[i]
      if (value && d && this.wanted.has(value.name)) this.give(value, d)
    })
  }

  private backward(node: GraphNode, upstream: (Value | undefined)[]): Backward {
    const refuse = (what: string): never => {
      throw refusal(node, what)
    }
    const attribute = (name: string): unknown => node.attributes[name]
    return {
      ...this.maths,
      node,
      upstream,
      get d() {
        return upstream[0] ?? refuse('nothing depends on its first output')
      },
      x: (index) => node.inputs[index] ?? refuse(`input ${index} is missing`),
      y: (index = 0) => this.graph.demand(node, index),
      needs: (index) => {
        const value = node.inputs[index]
        return value !== undefined && this.wanted.has(value.name)
      },
      int: (name, fallback) => (attribute(name) as number | undefined) ?? fallback,
      float: (name, fallback) => (attribute(name) as { float: number } | undefined)?.float ?? fallback,
      refuse,
    }
  }

  private give(value: Value, d: Value): void {
    if (d.shape.length !== value.shape.length) {
      throw graphBug(`the gradient of ${value.name} [${value.shape}] came out as [${d.shape}]`)
    }
    const before = this.gradients.get(value.name)
    this.gradients.set(value.name, before ? this.maths.add(before, d) : d)
  }
}
