/**
 * What the student learns from the teacher's logits: Sinkhorn-Knopp assignments, or softmax with a moving centre
 * (DINOv2). Sinkhorn runs in float64: exp(z / τ) keeps its digits there, and no row vanishes that float32 would lose.
 */
import type { GraphBuilder, Value } from '../graph/builder.js'

const CENTRE_MOMENTUM = 0.9
const SINKHORN_ITERATIONS = 3
const FLOAT = 1
const DOUBLE = 11

/**
 * Assignments [M, K] of logits [M, K]. Constant factors (1/K, 1/M, M) are left out: the last step makes every row's sum 1
 * whatever they are. The largest value is subtracted, which is one more of them.
 */
export function addSinkhorn(
  graph: GraphBuilder,
  logits: Value,
  temperature: Value,
  iterations = SINKHORN_ITERATIONS,
): Value {
  const wide = graph.op('Cast', [logits], { to: DOUBLE })
  const scaled = graph.op('Div', [wide, graph.op('Cast', [temperature], { to: DOUBLE })])
  const top = graph.op('ReduceMax', [scaled], { keepdims: 1 })
  let q = graph.op('Exp', [graph.op('Sub', [scaled, top])])
  for (let i = 0; i < iterations; i++) {
    for (const axis of [0, 1]) q = graph.op('Div', [q, graph.op('ReduceSum', [q, graph.ints([axis])], { keepdims: 1 })])
  }
  return graph.op('Cast', [q], { to: FLOAT })
}

/** softmax((z − centre) / τ), and the centre for the next step; centre is [1, K]. */
export function addCentred(
  graph: GraphBuilder,
  logits: Value,
  temperature: Value,
  centre: Value,
): { targets: Value; centre: Value } {
  const moved = graph.op('Div', [graph.op('Sub', [logits, centre]), temperature])
  const mean = graph.op('ReduceMean', [logits, graph.ints([0])], { keepdims: 1 })
  const kept = graph.op('Mul', [centre, graph.scalar(CENTRE_MOMENTUM)])
  const added = graph.op('Mul', [mean, graph.scalar(1 - CENTRE_MOMENTUM)])
  return { targets: graph.op('Softmax', [moved], { axis: -1 }), centre: graph.op('Add', [kept, added]) }
}
