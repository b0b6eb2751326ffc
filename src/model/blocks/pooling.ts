/** What makes one vector of many: means over tokens, the L2 norm, the first of every row's tokens. */
import type { GraphBuilder, Value } from '../../graph/builder.js'
import { addCast, roundSimulated } from '../../graph/linear.js'
import type { ActivationDtype, Precision } from '../../graph/precision.js'

/** L2-normalises the last axis as torch.nn.functional.normalize does (norm at least 1e-12). */
export function addL2Normalize(graph: GraphBuilder, x: Value, precision: Precision): Value {
  const norm = roundSimulated(graph, precision, graph.op('ReduceL2', [x, graph.ints([-1])], { keepdims: 1 }))
  return roundSimulated(graph, precision, graph.op('Div', [x, graph.op('Max', [norm, graph.scalar(1e-12)])]))
}

/**
 * Mean over tokens, [N, L, D] → [N, D], as a product with a row of ones: the order of summation of
 * ReduceMean over a middle axis, and so the last bit, depends on the batch size and on the threads.
 */
export function addMeanOfTokens(
  graph: GraphBuilder,
  tokens: Value,
  dtype: ActivationDtype,
  count: number,
  dim: number,
): Value {
  const ones = graph.constant(new Float32Array(count).fill(1), [1, count])
  const wide = addCast(graph, tokens, dtype, 'float32')
  const sums = graph.op('Reshape', [graph.op('MatMul', [ones, wide]), graph.ints([-1, dim])])
  return addCast(graph, graph.op('Mul', [sums, graph.scalar(1 / count)]), 'float32', dtype)
}

/** [N, L, D] → the token at `index`, [N, D]. */
export function takeToken(graph: GraphBuilder, tokens: Value, index = 0): Value {
  return graph.op('Gather', [tokens, graph.constant([index], [], 'int64')], { axis: 1 })
}

/** [N, L, D] → tokens from `start` to the end, [N, L − start, D]. */
export function takeTokens(graph: GraphBuilder, tokens: Value, start: number, end: number): Value {
  return graph.op('Slice', [tokens, graph.ints([start]), graph.ints([end]), graph.ints([1])])
}

/** Puts `front` [1, n, D] in front of every row of `tokens` [N, L, D]. */
export function prependTokens(graph: GraphBuilder, front: Value, tokens: Value, [n, dim]: [number, number]): Value {
  const batch = graph.op('Slice', [graph.op('Shape', [tokens]), graph.ints([0]), graph.ints([1])])
  const shape = graph.op('Concat', [batch, graph.ints([n, dim])], { axis: 0 })
  return graph.op('Concat', [graph.op('Expand', [front, shape]), tokens], { axis: 1 })
}

/**
 * [N, D] with a copy of its first row behind it: a product with a single row takes another path in the engine, whose
 * last bit may differ, and a row must not depend on how many there are. `dropLastRow` takes the copy off again.
 */
export function atLeastTwoRows(graph: GraphBuilder, rows: Value): Value {
  return graph.op('Concat', [rows, graph.op('Slice', [rows, graph.ints([0]), graph.ints([1]), graph.ints([0])])], {
    axis: 0,
  })
}

/** All rows but the last one, which `atLeastTwoRows` has added. */
export function dropLastRow(graph: GraphBuilder, rows: Value): Value {
  return graph.op('Slice', [rows, graph.ints([0]), graph.ints([-1]), graph.ints([0])])
}
