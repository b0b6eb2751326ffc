/**
 * Matrix products in the precision of the graph. A product takes rows [M, K] that were prepared once
 * (`prepareRows`) and may be shared by several products.
 *
 * int8: rows are divided by their own largest magnitude (dynamic, per token, so that a row depends on
 * nothing else in its batch), columns of the weights by theirs; both become integers of −127…127, and
 * y = (rows × columns) · row scale · column scale is exact but for those two roundings.
 */

import { float32ToBfloat16, float32ToFloat16, roundToBfloat16 } from '../math/half.js'
import type { GraphBuilder, Value, WeightData, WeightDtype } from './builder.js'
import { onlyRows, withoutRows } from './loud.js'
import { type ActivationDtype, activationDtype, type Precision, simulatesBf16 } from './precision.js'
import { ELEMENT } from './value.js'

const MS = 'com.microsoft'
const LEVELS = 127
/** Rows are stored as uint8 around this zero: the form that the vector instructions take. */
const ZERO_POINT = 128
/** Keeps the scale of a row of zeros finite. */
const SMALLEST = 1e-20

/** A weight matrix [K, N] and its bias [N] as the graph holds them. */
export interface Linear {
  weight: Value
  bias?: Value
  /** Scale of every column, [N]; int8 only. */
  columns?: Value
  /** Rows of the loud channels in float32, [c, N]; int8 only, and only where there are such channels. */
  loud?: Value
}

/** Rows [M, K] on their way into products. */
export interface Rows {
  values: Value
  /** Scale of every row, [M, 1]; int8 only. */
  scale?: Value
  /** The loud channels of every row in float32, [M, c]. */
  loud?: Value
}

export interface LinearSource {
  name: string
  inner: number
  outer: number
  /** [K, N] in C order. */
  weight: () => Promise<Float32Array>
  /** [N]; none: the product has no bias, or it is added elsewhere. */
  bias?: () => Promise<Float32Array>
  /** Channels that int8 leaves to a product in float32 (loud.ts). */
  loud?: number[]
}

const STORED: Record<ActivationDtype, { dtype: WeightDtype; store: (values: Float32Array) => WeightData }> = {
  float32: { dtype: 'float32', store: (values) => values },
  float16: { dtype: 'float16', store: float32ToFloat16 },
  bfloat16: { dtype: 'bfloat16', store: float32ToBfloat16 },
}

/** Registers a vector or matrix that takes part in the activations' arithmetic. */
export function activationWeight(
  graph: GraphBuilder,
  precision: Precision,
  name: string,
  shape: number[],
  make: () => Promise<Float32Array>,
): Value {
  const { dtype, store } = STORED[activationDtype(precision)]
  const rounds = simulatesBf16(precision) && shape.length > 1
  return graph.weight(
    name,
    shape,
    async () => store(rounds ? (await make()).map(roundToBfloat16) : await make()),
    dtype,
  )
}

/** Largest magnitude of every column of [K, N]. */
export function columnMaxima(matrix: Float32Array, outer: number): Float32Array {
  const out = new Float32Array(outer)
  for (let at = 0; at < matrix.length; at += outer)
    for (let n = 0; n < outer; n++) out[n] = Math.max(out[n]!, Math.abs(matrix[at + n]!))
  return out
}

/** [K, N] as integers of −127…127, column by column; their scales are `columnMaxima` / 127. */
export function quantizeColumns(matrix: Float32Array, outer: number): Int8Array {
  const inverse = columnMaxima(matrix, outer).map((max) => (max === 0 ? 0 : LEVELS / max))
  const out = new Int8Array(matrix.length)
  for (let at = 0; at < matrix.length; at += outer)
    for (let n = 0; n < outer; n++) out[at + n] = Math.round(matrix[at + n]! * inverse[n]!)
  return out
}

/** Rounds to bfloat16 and back. */
export function toBf16(graph: GraphBuilder, x: Value): Value {
  return graph.op('Cast', [graph.op('Cast', [x], { to: ELEMENT.bfloat16 })], { to: ELEMENT.float32 })
}

/** A value that the official code keeps in bfloat16 under autocast, where that is simulated; else itself. */
export function roundSimulated(graph: GraphBuilder, precision: Precision, x: Value): Value {
  return simulatesBf16(precision) ? toBf16(graph, x) : x
}

/** Registers a weight matrix (and bias). */
export function linear(graph: GraphBuilder, precision: Precision, source: LinearSource): Linear {
  const { name, inner, outer, weight, bias, loud = [] } = source
  const quantized = precision === 'int8'
  const integers = async (): Promise<Float32Array> => withoutRows(await weight(), outer, loud)
  const out: Linear = {
    weight: quantized
      ? graph.weight(`${name}.weight`, [inner, outer], async () => quantizeColumns(await integers(), outer), 'int8')
      : activationWeight(graph, precision, `${name}.weight`, [inner, outer], weight),
  }
  if (quantized) {
    out.columns = graph.weight(`${name}.columns`, [outer], async () =>
      columnMaxima(await integers(), outer).map((max) => max / LEVELS),
    )
    if (loud.length > 0) {
      out.loud = graph.weight(`${name}.loud`, [loud.length, outer], async () => onlyRows(await weight(), outer, loud))
    }
  }
  if (bias) out.bias = activationWeight(graph, precision, `${name}.bias`, [outer], bias)
  return out
}

/** Prepares rows [M, K] for products: nothing to do in floating point; in int8 quantisation, and loud channels apart. */
export function prepareRows(graph: GraphBuilder, precision: Precision, x: Value, loud: number[] = []): Rows {
  if (precision !== 'int8') return { values: roundSimulated(graph, precision, x) }
  const largest = graph.op('ReduceMax', [graph.op('Abs', [x]), graph.ints([-1])], { keepdims: 1 }) // [M, 1]
  const scale = graph.op('Mul', [graph.op('Max', [largest, graph.scalar(SMALLEST)]), graph.scalar(1 / LEVELS)])
  const levels = graph.op('Div', [x, scale])
  const zero = graph.constant([ZERO_POINT], [], 'uint8')
  const rows: Rows = { values: graph.op('QuantizeLinear', [levels, graph.scalar(1), zero]), scale }
  if (loud.length > 0) rows.loud = graph.op('Gather', [x, graph.ints(loud)], { axis: 1 })
  return rows
}

/** rows × weight + bias, [M, N]. */
export function addProduct(graph: GraphBuilder, rows: Rows, { weight, bias, columns, loud }: Linear): Value {
  if (!rows.scale || !columns) {
    return bias ? graph.op('Gemm', [rows.values, weight, bias]) : graph.op('MatMul', [rows.values, weight])
  }
  const zero = graph.constant([ZERO_POINT], [], 'uint8')
  const product = graph.op('MatMulIntegerToFloat', [rows.values, weight, graph.scalar(1), columns, zero], {}, MS)
  const scaled = graph.op('Mul', [product, rows.scale])
  const exact = rows.loud && loud ? addProduct(graph, { values: rows.loud }, { weight: loud, bias }) : bias
  return exact ? graph.op('Add', [scaled, exact]) : scaled
}

/** Casts where the types differ. */
export function addCast(graph: GraphBuilder, x: Value, from: ActivationDtype, to: ActivationDtype): Value {
  return from === to ? x : graph.op('Cast', [x], { to: ELEMENT[to] })
}
