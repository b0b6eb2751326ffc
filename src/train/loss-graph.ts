/**
 * The loss of a batch as nodes: noised latents from data and noise, the squared error of the prediction, and for
 * velocities the cosine loss of the reference (transport.py, training_losses with use_cosine_loss).
 */
import type { GraphBuilder, Value } from '../graph/builder.js'
import { PLAN_COLUMNS } from './transport.js'

export interface LossInputs {
  /** Data and noise, [B, C, H, W]. */
  x1: Value
  x0: Value
  /** [B, 6], see transport.ts. */
  plan: Value
}

/** The plan's columns, each [B, 1, 1, 1]. */
function columns(graph: GraphBuilder, plan: Value): Value[] {
  const parts = graph.ops('Split', [plan], PLAN_COLUMNS, { axis: 1, num_outputs: PLAN_COLUMNS })
  return parts.map((part) => graph.op('Reshape', [part, graph.ints([-1, 1, 1, 1])]))
}

export interface LossTerms {
  /** What the model gets, [B, C, H, W]. */
  noised: Value
  /** From the model's prediction to the losses. */
  compare(prediction: Value): Losses
}

export interface Losses {
  /** Per sample, [B]. */
  mse: Value
  /** Per sample, [B]; undefined without the cosine loss. */
  cos?: Value
  /** mean(mse) + mean(cos). */
  total: Value
}

/** torch.nn.functional.cosine_similarity's smallest norm. */
const SMALLEST_NORM = 1e-8

export function addLoss(graph: GraphBuilder, { x1, x0, plan }: LossInputs, cosine: boolean): LossTerms {
  const [alpha, sigma, dataPart, noisePart, gain, weight] = columns(graph, plan) as [
    Value,
    Value,
    Value,
    Value,
    Value,
    Value,
  ]
  const mix = (a: Value, b: Value): Value => graph.op('Add', [graph.op('Mul', [a, x1]), graph.op('Mul', [b, x0])])
  const noised = mix(alpha, sigma)
  return {
    noised,
    compare(prediction) {
      const target = mix(dataPart, noisePart)
      const error = graph.op('Sub', [graph.op('Mul', [prediction, gain]), target])
      const squares = graph.op('Mul', [graph.op('Mul', [error, error]), weight])
      const mse = graph.op('ReduceMean', [squares, graph.ints([1, 2, 3])], { keepdims: 0 }) // [B]
      const mean = (value: Value): Value => graph.op('ReduceMean', [value], { keepdims: 0 })
      if (!cosine) return { mse, total: mean(mse) }
      const sum = (value: Value): Value => graph.op('ReduceSum', [value, graph.ints([1])], { keepdims: 1 }) // [B, 1, H, W]
      const norm = (value: Value): Value =>
        // Cut off below the root, whose gradient at 0 is infinite: a fresh model predicts exactly 0.
        graph.op('Sqrt', [
          graph.op('Max', [sum(graph.op('Mul', [value, value])), graph.scalar(SMALLEST_NORM * SMALLEST_NORM)]),
        ])
      const dot = sum(graph.op('Mul', [prediction, target]))
      const similarity = graph.op('Div', [dot, graph.op('Mul', [norm(prediction), norm(target)])])
      const distance = graph.op('Sub', [graph.scalar(1), similarity])
      const cos = graph.op('ReduceMean', [distance, graph.ints([1, 2, 3])], { keepdims: 0 })
      return { mse, cos, total: graph.op('Add', [mean(mse), mean(cos)]) }
    },
  }
}
