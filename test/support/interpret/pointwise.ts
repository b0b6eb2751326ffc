/** Operators that work element by element, reductions and softmax, from their definitions. */
import type { GraphNode } from '../../../src/graph/builder.js'
import {
  at,
  axisOf,
  broadcast,
  build,
  each,
  float,
  int,
  type Run,
  sizeOf,
  stridesOf,
  sum,
  type Tensor,
  tensor,
} from './tensor.js'

const pointwise =
  (f: (...values: number[]) => number) =>
  (_: GraphNode, inputs: Tensor[]): Tensor[] => {
    const shape = broadcast(...inputs)
    return [build(shape, (index) => f(...inputs.map((x) => at(x, index))))]
  }

export function erf(x: number): number {
  let term = x
  let sum = x
  for (let n = 1; n < 200; n++) {
    term *= (-x * x) / n
    sum += term / (2 * n + 1)
  }
  return (2 / Math.sqrt(Math.PI)) * sum
}
export const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x))
export const exactGelu = (x: number): number => (x * (1 + erf(x / Math.SQRT2))) / 2
export const tanhGelu = (x: number): number =>
  (x / 2) * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))

export function reduce(name: string, f: (values: number[]) => number): Record<string, Run> {
  return {
    [name]: (node, [x, given]) => {
      const rank = x!.shape.length
      const axes = given ? [...given.data].map((a) => axisOf(a, rank)) : x!.shape.map((_, i) => i)
      const kept = x!.shape.map((size, i) => (axes.includes(i) ? 1 : size))
      const strides = stridesOf(kept)
      const groups = Array.from({ length: sizeOf(kept) }, () => [] as number[])
      each(x!.shape, (index, place) => {
        const group = index.reduce((sum, i, k) => sum + (axes.includes(k) ? 0 : i * strides[k]!), 0)
        groups[group]!.push(x!.data[place]!)
      })
      const shape = int(node, 'keepdims', 1) ? kept : x!.shape.filter((_, i) => !axes.includes(i))
      return [tensor(shape, groups.map(f))]
    },
  }
}

/** Softmax over an axis, its logarithm if asked for. */
export const softmax =
  (log: boolean): Run =>
  (node, [x]) => {
    const axis = axisOf(int(node, 'axis', -1), x!.shape.length)
    const total = reduce('r', (v) => sum(v.map(Math.exp))).r!({ ...node, attributes: { keepdims: 1 } }, [
      x!,
      tensor([1], [axis]),
    ])[0]!
    return [build(x!.shape, (i) => (log ? at(x!, i) - Math.log(at(total, i)) : Math.exp(at(x!, i)) / at(total, i)))]
  }

export const POINTWISE: Record<string, Run> = {
  Identity: (_, [x]) => [x!],
  Cast: (_, [x]) => [x!],
  Add: pointwise((a, b) => a! + b!),
  Sub: pointwise((a, b) => a! - b!),
  Mul: pointwise((a, b) => a! * b!),
  Div: pointwise((a, b) => a! / b!),
  Sum: pointwise((...values) => sum(values)),
  Max: pointwise(Math.max),
  Min: pointwise(Math.min),
  Pow: pointwise((a, b) => a! ** b!),
  Equal: pointwise((a, b) => Number(a === b)),
  Greater: pointwise((a, b) => Number(a! > b!)),
  Less: pointwise((a, b) => Number(a! < b!)),
  GreaterOrEqual: pointwise((a, b) => Number(a! >= b!)),
  LessOrEqual: pointwise((a, b) => Number(a! <= b!)),
  Where: pointwise((c, a, b) => (c ? a! : b!)),
  Neg: pointwise((x) => -x!),
  Abs: pointwise(Math.abs),
  Sign: pointwise(Math.sign),
  Floor: pointwise(Math.floor),
  Ceil: pointwise(Math.ceil),
  Round: pointwise(Math.round),
  Sqrt: pointwise(Math.sqrt),
  Exp: pointwise(Math.exp),
  Log: pointwise(Math.log),
  Reciprocal: pointwise((x) => 1 / x!),
  Sigmoid: pointwise(sigmoid),
  Tanh: pointwise(Math.tanh),
  Softplus: pointwise((x) => Math.log1p(Math.exp(x!))),
  Erf: pointwise(erf),
  Sin: pointwise(Math.sin),
  Cos: pointwise(Math.cos),
  Relu: pointwise((x) => Math.max(0, x!)),
  LeakyRelu: (node, x) => pointwise((v) => (v! > 0 ? v! : float(node, 'alpha', 0.01) * v!))(node, x),
  Gelu: (node, x) => pointwise(node.attributes.approximate === 'tanh' ? tanhGelu : exactGelu)(node, x),
  QuickGelu: (node, x) => pointwise((v) => v! * sigmoid(float(node, 'alpha', 1.702) * v!))(node, x),
  FastGelu: pointwise((x, b = 0) => tanhGelu(x! + b)),
  BiasGelu: pointwise((x, b) => exactGelu(x! + b!)),
  Clip: (_, [x, low, high]) => [
    build(x!.shape, (i) => Math.min(Math.max(at(x!, i), low?.data[0] ?? -Infinity), high?.data[0] ?? Infinity)),
  ],
  Softmax: softmax(false),
  LogSoftmax: softmax(true),
  CumSum: (node, [x, axes]) => {
    const axis = axisOf(axes!.data[0]!, x!.shape.length)
    const [exclusive, reverse] = [int(node, 'exclusive', 0), int(node, 'reverse', 0)]
    return [
      build(x!.shape, (index) => {
        let total = 0
        for (let i = 0; i < x!.shape[axis]!; i++) {
          const before = reverse ? i > index[axis]! : i < index[axis]!
          if (before || (!exclusive && i === index[axis]))
            total += at(
              x!,
              index.map((v, k) => (k === axis ? i : v)),
            )
        }
        return total
      }),
    ]
  },
  Trilu: (node, [x]) => [
    build(x!.shape, (index) => {
      const [row, column] = index.slice(-2) as [number, number]
      return (int(node, 'upper', 1) ? column >= row : column <= row) ? at(x!, index) : 0
    }),
  ],
  ...reduce('ReduceSum', sum),
  ...reduce('ReduceMean', (v) => sum(v) / v.length),
  ...reduce('ReduceMax', (v) => Math.max(...v)),
  ...reduce('ReduceMin', (v) => Math.min(...v)),
  ...reduce('ReduceProd', (v) => v.reduce((a, b) => a * b, 1)),
  ...reduce('ReduceL1', (v) => sum(v.map(Math.abs))),
  ...reduce('ReduceL2', (v) => Math.sqrt(sum(v.map((x) => x * x)))),
  ...reduce('ReduceSumSquare', (v) => sum(v.map((x) => x * x))),
  ...reduce('ReduceLogSumExp', (v) => Math.log(sum(v.map(Math.exp)))),
}
