/** What a rule gets and gives: from the gradients of a node's outputs to those of its inputs. */
import { type GraphNode, graphBug, type Value } from '../value.js'
import type { Arithmetic } from './arithmetic.js'

export interface Backward extends Arithmetic {
  readonly node: GraphNode
  /** Gradient of the first output, for operators that have one; refused where nothing depends on it. */
  readonly d: Value
  /** Gradients of all outputs; undefined where nothing depends on one. */
  readonly upstream: readonly (Value | undefined)[]
  /** Input `index`. */
  x(index: number): Value
  /** Output `index`; one that nobody wanted is asked for now. */
  y(index?: number): Value
  /** Whether anybody wants the gradient of input `index`. */
  needs(index: number): boolean
  /** An attribute that is a whole number. */
  int(name: string, fallback: number): number
  /** An attribute that is a float. */
  float(name: string, fallback: number): number
  /** Ends the building of the graph, naming the operator. */
  refuse(what: string): never
}

/** Gradients by input; undefined (or a shorter list): none is wanted, or it is zero. */
export type GradientRule = (back: Backward) => (Value | undefined)[]

/** Rules by `domain:type`, as the table of operators. */
export type GradientTable = Readonly<Record<string, GradientRule>>

export function refusal(node: GraphNode, what: string): Error {
  return graphBug(`the gradient of ${node.domain ? `${node.domain}.` : ''}${node.type} (${node.name}): ${what}`)
}
