/** Operators that make one value of an axis: sums, means, extremes, norms. Axes are an input, a constant. */
import type { Dim } from '../dims.js'
import {
  axisOf,
  type Infer,
  inputOf,
  intOf,
  intsOf,
  type NodeView,
  numbersOf,
  type OperatorTable,
} from './node-view.js'

/** The axes that a reduction sums over, from 0; all of them where none are given. */
export function reducedAxes(node: NodeView): number[] {
  const rank = inputOf(node, 0).shape.length
  const given = node.inputs[1] ? numbersOf(node, 1) : intsOf(node, 'axes')
  if (!given || given.length === 0) {
    if (intOf(node, 'noop_with_empty_axes', 0) === 1) return []
    return Array.from({ length: rank }, (_, i) => i)
  }
  return given.map((axis) => axisOf(node, axis, rank))
}

const reduce: Infer = (node) => {
  const { dtype, shape } = inputOf(node, 0)
  const axes = new Set(reducedAxes(node))
  const keep = intOf(node, 'keepdims', 1) === 1
  return [{ dtype, shape: shape.flatMap<Dim>((size, i) => (axes.has(i) ? (keep ? [1] : []) : [size])) }]
}

const argument: Infer = (node) => {
  const { shape } = inputOf(node, 0)
  const axis = axisOf(node, intOf(node, 'axis', 0), shape.length)
  const keep = intOf(node, 'keepdims', 1) === 1
  return [{ dtype: 'int64', shape: shape.flatMap<Dim>((size, i) => (i === axis ? (keep ? [1] : []) : [size])) }]
}

const NAMES = ['Sum', 'Mean', 'Max', 'Min', 'Prod', 'L1', 'L2', 'SumSquare', 'LogSum', 'LogSumExp']

export const REDUCE: OperatorTable = {
  ...Object.fromEntries(NAMES.map((name) => [`:Reduce${name}`, { infer: reduce }])),
  ':ArgMax': { infer: argument },
  ':ArgMin': { infer: argument },
}
