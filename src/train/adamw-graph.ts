/** AdamW, the moving average and the norm of all gradients as nodes: adamw.ts rounding for rounding. */
import type { GraphBuilder, Value } from '../graph/builder.js'
import { ELEMENT } from '../graph/value.js'
import type { OptimizerSettings } from './adamw.js'
import type { StateKind } from './state.js'

/** What a tensor's state is, by its kind. */
export type TensorState = Partial<Record<StateKind, Value>>

/** Numbers of a step, each a scalar. */
export interface GraphRates {
  /** lr / (1 − β₁ⁿ), and √(1 − β₂ⁿ). */
  stepSize: Value
  root: Value
  /** 1 − lr · decay; undefined without weight decay. */
  keep?: Value
  /** What gradients are multiplied by; undefined: 1. */
  gradientScale?: Value
}

const toDouble = (graph: GraphBuilder, value: Value): Value => graph.op('Cast', [value], { to: ELEMENT.float64 })

/** The sum over all elements of a value, float64. */
export const doubleSum = (graph: GraphBuilder, value: Value): Value =>
  graph.op('ReduceSum', [toDouble(graph, value)], { keepdims: 0 })

/** The Euclidean norm of all gradients together, without the scale of the loss; float64. */
export function addGlobalNorm(graph: GraphBuilder, gradients: readonly Value[], scale?: Value): Value {
  const squares = gradients.map((gradient) => graph.op('ReduceSumSquare', [toDouble(graph, gradient)], { keepdims: 0 }))
  const norm = graph.op('Sqrt', [graph.op('Sum', squares)])
  return scale ? graph.op('Div', [norm, toDouble(graph, scale)]) : norm
}

/** From the norm to what gradients are multiplied by: clipping, and the scale of the loss taken back. */
export function addGradientScale(
  graph: GraphBuilder,
  norm: Value,
  { maxGradNorm }: OptimizerSettings,
  scale?: Value,
): Value | undefined {
  if (maxGradNorm === undefined && !scale) return undefined
  const number = (value: number): Value => graph.constant([value], [], 'float64')
  const clip =
    maxGradNorm === undefined
      ? number(1)
      : graph.op('Min', [number(1), graph.op('Div', [number(maxGradNorm), graph.op('Add', [norm, number(1e-6)])])])
  const factor = scale ? graph.op('Div', [clip, toDouble(graph, scale)]) : clip
  return graph.op('Cast', [factor], { to: ELEMENT.float32 })
}

/** One step of a trained tensor: its state afterwards. */
export function addUpdate(
  graph: GraphBuilder,
  { param, exp_avg: m, exp_avg_sq: v, ema }: TensorState,
  gradient: Value,
  settings: OptimizerSettings,
  { stepSize, root, keep, gradientScale }: GraphRates,
): TensorState {
  const op = (type: string, a: Value, b: Value): Value => graph.op(type, [a, b])
  const times = (value: Value, factor: number): Value => op('Mul', value, graph.scalar(factor))
  const { beta1, beta2, epsilon } = settings
  const g = gradientScale ? op('Mul', gradient, gradientScale) : gradient
  const nextM = op('Add', m!, times(op('Sub', g, m!), 1 - beta1))
  const nextV = op('Add', times(v!, beta2), times(op('Mul', g, g), 1 - beta2))
  const denominator = op('Add', op('Div', graph.op('Sqrt', [nextV]), root), graph.scalar(epsilon))
  const kept = keep ? op('Mul', param!, keep) : param!
  const next = op('Sub', kept, op('Mul', op('Div', nextM, denominator), stepSize))
  return { param: next, exp_avg: nextM, exp_avg_sq: nextV, ema: addAverage(graph, ema!, next, settings) }
}

/** The average after a step. */
export function addAverage(graph: GraphBuilder, ema: Value, parameter: Value, { emaDecay }: OptimizerSettings): Value {
  const kept = graph.op('Mul', [ema, graph.scalar(emaDecay)])
  return graph.op('Add', [kept, graph.op('Mul', [parameter, graph.scalar(1 - emaDecay)])])
}
