/**
 * Runs a graph's nodes in float64, each operator written down from its definition. Slow and simple: what gradients
 * and the engine are compared with.
 */
import type { GraphBuilder, GraphNode, Value } from '../../src/graph/builder.js'

export interface Tensor {
  shape: number[]
  data: Float64Array
}

const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1)
export const tensor = (shape: number[], values: ArrayLike<number>): Tensor => ({
  shape,
  data: Float64Array.from(values),
})
const stridesOf = (shape: readonly number[]): number[] => shape.map((_, i) => sizeOf(shape.slice(i + 1)))

/** Calls `visit` with every index of a shape, in C order. */
function each(shape: readonly number[], visit: (index: number[], at: number) => void): void {
  const index = shape.map(() => 0)
  const total = sizeOf(shape)
  for (let at = 0; at < total; at++) {
    visit(index, at)
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      if (++index[axis]! < shape[axis]!) break
      index[axis] = 0
    }
  }
}

/** Element of x at an index of a shape that x is broadcast to. */
function at(x: Tensor, index: readonly number[]): number {
  const lead = index.length - x.shape.length
  let place = 0
  for (let i = 0; i < x.shape.length; i++) place = place * x.shape[i]! + (x.shape[i] === 1 ? 0 : index[i + lead]!)
  return x.data[place]!
}

function build(shape: number[], value: (index: number[]) => number): Tensor {
  const data = new Float64Array(sizeOf(shape))
  each(shape, (index, place) => {
    data[place] = value(index)
  })
  return { shape, data }
}

function broadcast(...tensors: Tensor[]): number[] {
  const rank = Math.max(...tensors.map(({ shape }) => shape.length))
  return Array.from({ length: rank }, (_, i) =>
    Math.max(...tensors.map(({ shape }) => shape[i - rank + shape.length] ?? 1)),
  )
}

const pointwise =
  (f: (...values: number[]) => number) =>
  (_: GraphNode, inputs: Tensor[]): Tensor[] => {
    const shape = broadcast(...inputs)
    return [build(shape, (index) => f(...inputs.map((x) => at(x, index))))]
  }

function erf(x: number): number {
  let term = x
  let sum = x
  for (let n = 1; n < 200; n++) {
    term *= (-x * x) / n
    sum += term / (2 * n + 1)
  }
  return (2 / Math.sqrt(Math.PI)) * sum
}
const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x))
const exactGelu = (x: number): number => (x * (1 + erf(x / Math.SQRT2))) / 2
const tanhGelu = (x: number): number => (x / 2) * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))

const int = (node: GraphNode, name: string, fallback: number): number =>
  (node.attributes[name] as number | undefined) ?? fallback
const ints = (node: GraphNode, name: string): number[] | undefined => node.attributes[name] as number[] | undefined
const float = (node: GraphNode, name: string, fallback: number): number =>
  (node.attributes[name] as { float: number } | undefined)?.float ?? fallback
const axisOf = (axis: number, rank: number): number => (axis < 0 ? axis + rank : axis)

type Run = (node: GraphNode, inputs: Tensor[]) => Tensor[]

function transpose(x: Tensor, perm: readonly number[]): Tensor {
  const strides = stridesOf(x.shape)
  return build(
    perm.map((axis) => x.shape[axis]!),
    (index) => x.data[index.reduce((sum, i, k) => sum + i * strides[perm[k]!]!, 0)]!,
  )
}

const swapLast = (x: Tensor): Tensor => {
  const rank = x.shape.length
  return transpose(x, [...Array.from({ length: rank - 2 }, (_, i) => i), rank - 1, rank - 2])
}

function matMul(a: Tensor, b: Tensor, alpha = 1): Tensor {
  const [m, k] = a.shape.slice(-2) as [number, number]
  const n = b.shape.at(-1)!
  const lead = broadcast({ shape: a.shape.slice(0, -2), data: a.data }, { shape: b.shape.slice(0, -2), data: b.data })
  return build([...lead, m, n], (index) => {
    const [row, column] = index.slice(-2) as [number, number]
    const front = index.slice(0, -2)
    let sum = 0
    for (let i = 0; i < k; i++) sum += at(a, [...front, row, i]) * at(b, [...front, i, column])
    return alpha * sum
  })
}

function reduce(name: string, f: (values: number[]) => number): Record<string, Run> {
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
const sum = (values: number[]): number => values.reduce((a, b) => a + b, 0)

/** Softmax over an axis, its logarithm if asked for. */
const softmax =
  (log: boolean): Run =>
  (node, [x]) => {
    const axis = axisOf(int(node, 'axis', -1), x!.shape.length)
    const total = reduce('r', (v) => sum(v.map(Math.exp))).r!({ ...node, attributes: { keepdims: 1 } }, [
      x!,
      tensor([1], [axis]),
    ])[0]!
    return [build(x!.shape, (i) => (log ? at(x!, i) - Math.log(at(total, i)) : Math.exp(at(x!, i)) / at(total, i)))]
  }

/** Rows normed over the last axis: y, mean, inverse deviation. */
function norm(x: Tensor, weight: Tensor, bias: Tensor | undefined, centred: boolean, epsilon: number): Tensor[] {
  const n = x.shape.at(-1)!
  const rows = x.data.length / n
  const stat = [...x.shape.slice(0, -1), 1]
  const [mean, inverse] = [new Float64Array(rows), new Float64Array(rows)]
  for (let r = 0; r < rows; r++) {
    const row = [...x.data.subarray(r * n, (r + 1) * n)]
    mean[r] = centred ? sum(row) / n : 0
    inverse[r] = 1 / Math.sqrt(sum(row.map((v) => (v - mean[r]!) ** 2)) / n + epsilon)
  }
  const y = x.data.map((v, i) => {
    const r = Math.floor(i / n)
    return (v - mean[r]!) * inverse[r]! * weight.data[i % n]! + (bias ? bias.data[i % n]! : 0)
  })
  return [tensor(x.shape, y), tensor(stat, mean), tensor(stat, inverse)]
}

const skipNorm =
  (centred: boolean): Run =>
  (node, inputs) => {
    const [a, b, weight] = inputs as [Tensor, Tensor, Tensor]
    const [beta, bias] = centred ? [inputs[3], inputs[4]] : [undefined, inputs[3]]
    const total = build(a.shape, (i) => at(a, i) + at(b, i) + (bias ? at(bias, i) : 0))
    return [...norm(total, weight, beta, centred, float(node, 'epsilon', 1e-12)), total]
  }

interface Window {
  kernel: number[]
  strides: number[]
  dilations: number[]
  pads: number[]
}
function windowOf(node: GraphNode, weight?: Tensor): Window {
  const kernel = ints(node, 'kernel_shape') ?? weight!.shape.slice(2)
  return {
    kernel,
    strides: ints(node, 'strides') ?? kernel.map(() => 1),
    dilations: ints(node, 'dilations') ?? kernel.map(() => 1),
    pads: ints(node, 'pads') ?? kernel.flatMap(() => [0, 0]),
  }
}
const outputSizes = (x: Tensor, { kernel, strides, dilations, pads }: Window): number[] =>
  kernel.map((k, i) => {
    const room = x.shape[i + 2]! + pads[i]! + pads[i + kernel.length]! - dilations[i]! * (k - 1) - 1
    return Math.floor(room / strides[i]!) + 1
  })

/** Places in the input that each place of the kernel sees from an output. */
function seen(x: Tensor, out: number[], { kernel, strides, dilations, pads }: Window): { k: number[]; p: number[] }[] {
  const found: { k: number[]; p: number[] }[] = []
  each(kernel, (k) => {
    const p = out.map((o, i) => o * strides[i]! + k[i]! * dilations[i]! - pads[i]!)
    if (p.every((place, i) => place >= 0 && place < x.shape[i + 2]!)) found.push({ k: [...k], p })
  })
  return found
}

const conv: Run = (node, [x, w, bias]) => {
  const window = windowOf(node, w)
  const shape = [x!.shape[0]!, w!.shape[0]!, ...outputSizes(x!, window)]
  return [
    build(shape, ([n, o, ...out]) => {
      let total = bias ? bias.data[o!]! : 0
      for (const { k, p } of seen(x!, out, window))
        for (let c = 0; c < w!.shape[1]!; c++) total += at(x!, [n!, c, ...p]) * at(w!, [o!, c, ...k])
      return total
    }),
  ]
}

const convTranspose: Run = (node, [x, w, bias]) => {
  const window = windowOf(node, w)
  const { kernel, strides, dilations, pads } = window
  const extra = ints(node, 'output_padding') ?? kernel.map(() => 0)
  const spatial = kernel.map(
    (k, i) =>
      (x!.shape[i + 2]! - 1) * strides[i]! +
      dilations[i]! * (k - 1) +
      1 -
      pads[i]! -
      pads[i + kernel.length]! +
      extra[i]!,
  )
  const y = build([x!.shape[0]!, w!.shape[1]!, ...spatial], ([, o]) => (bias ? bias.data[o!]! : 0))
  const strided = stridesOf(y.shape)
  each(x!.shape, ([n, c, ...out], place) => {
    for (const { k, p } of seen(y, out, window))
      for (let o = 0; o < w!.shape[1]!; o++) {
        const target = [n!, o, ...p].reduce((s, v, i) => s + v * strided[i]!, 0)
        y.data[target] = y.data[target]! + x!.data[place]! * at(w!, [c!, o, ...k])
      }
  })
  return [y]
}

const pool =
  (largest: boolean): Run =>
  (node, [x]) => {
    const window = windowOf(node)
    const shape = [x!.shape[0]!, x!.shape[1]!, ...outputSizes(x!, window)]
    const strides = stridesOf(x!.shape)
    const places = new Float64Array(sizeOf(shape))
    const area = int(node, 'count_include_pad', 0) ? sizeOf(window.kernel) : 0
    let next = 0
    const y = build(shape, ([n, c, ...out]) => {
      const inside = seen(x!, out, window).map(({ p }) => [n!, c!, ...p].reduce((s, v, i) => s + v * strides[i]!, 0))
      const values = inside.map((place) => x!.data[place]!)
      const best = Math.max(...values)
      places[next++] = inside[values.indexOf(best)]!
      return largest ? best : sum(values) / (area || values.length)
    })
    return [y, tensor(shape, places)]
  }

function pieces(node: GraphNode, x: Tensor, sizes: number[]): Tensor[] {
  const axis = axisOf(int(node, 'axis', 0), x.shape.length)
  let start = 0
  return sizes.map((size) => {
    const from = start
    start += size
    return build(
      x.shape.map((old, i) => (i === axis ? size : old)),
      (index) =>
        at(
          x,
          index.map((v, i) => (i === axis ? v + from : v)),
        ),
    )
  })
}

const blocks =
  (toSpace: boolean): Run =>
  (node, [x]) => {
    const b = int(node, 'blocksize', 1)
    const [n, c, h, w] = x!.shape as [number, number, number, number]
    if (toSpace) {
      const parts = tensor([n, b, b, c / b / b, h, w], x!.data)
      return [tensor([n, c / b / b, h * b, w * b], transpose(parts, [0, 3, 4, 1, 5, 2]).data)]
    }
    const parts = tensor([n, c, h / b, b, w / b, b], x!.data)
    return [tensor([n, c * b * b, h / b, w / b], transpose(parts, [0, 3, 5, 1, 2, 4]).data)]
  }

function scatter(x: Tensor, targets: { place: number; value: number }[], add: boolean): Tensor[] {
  const data = x.data.slice()
  for (const { place, value } of targets) data[place] = add ? data[place]! + value : value
  return [{ shape: x.shape, data }]
}

const OPERATORS: Record<string, Run> = {
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
  Shape: (_, [x]) => [tensor([x!.shape.length], x!.shape)],
  Transpose: (node, [x]) => [transpose(x!, ints(node, 'perm') ?? x!.shape.map((_, i) => x!.shape.length - 1 - i))],
  Expand: (_, [x, shape]) => {
    const to = broadcast(x!, { shape: [...shape!.data], data: x!.data })
    return [build(to, (index) => at(x!, index))]
  },
  Slice: (_, [x, starts, ends, axes, steps]) => {
    const parts = x!.shape.map((size) => ({ start: 0, step: 1, size }))
    starts!.data.forEach((start, i) => {
      const axis = axes ? axisOf(axes.data[i]!, x!.shape.length) : i
      const size = x!.shape[axis]!
      const step = steps?.data[i] ?? 1
      const clamp = (v: number): number =>
        step > 0
          ? Math.min(Math.max(v < 0 ? v + size : v, 0), size)
          : Math.min(Math.max(v < 0 ? v + size : v, -1), size - 1)
      const from = clamp(start)
      parts[axis] = { start: from, step, size: Math.max(0, Math.ceil((clamp(ends!.data[i]!) - from) / step)) }
    })
    return [
      build(
        parts.map(({ size }) => size),
        (index) =>
          at(
            x!,
            index.map((v, i) => parts[i]!.start + v * parts[i]!.step),
          ),
      ),
    ]
  },
  Concat: (node, inputs) => {
    const axis = axisOf(int(node, 'axis', 0), inputs[0]!.shape.length)
    const total = sum(inputs.map(({ shape }) => shape[axis]!))
    return [
      build(
        inputs[0]!.shape.map((size, i) => (i === axis ? total : size)),
        (index) => {
          let place = index[axis]!
          const from = inputs.find(({ shape }) => {
            if (place < shape[axis]!) return true
            place -= shape[axis]!
            return false
          })!
          return at(
            from,
            index.map((v, i) => (i === axis ? place : v)),
          )
        },
      ),
    ]
  },
  Split: (node, [x, sizes]) => {
    const size = x!.shape[axisOf(int(node, 'axis', 0), x!.shape.length)]!
    const count = int(node, 'num_outputs', node.outputs.length)
    const each = Math.ceil(size / count)
    return pieces(
      node,
      x!,
      sizes ? [...sizes.data] : Array.from({ length: count }, (_, i) => Math.min(each, size - i * each)),
    )
  },
  Gather: (node, [x, indices]) => {
    const axis = axisOf(int(node, 'axis', 0), x!.shape.length)
    const rank = indices!.shape.length
    const shape = [...x!.shape.slice(0, axis), ...indices!.shape, ...x!.shape.slice(axis + 1)]
    return [
      build(shape, (index) => {
        const picked = rank === 0 ? indices!.data[0]! : at(indices!, index.slice(axis, axis + rank))
        const place = picked < 0 ? picked + x!.shape[axis]! : picked
        return at(x!, [...index.slice(0, axis), place, ...index.slice(axis + rank)])
      }),
    ]
  },
  /** One index per row of a batch, or whole rows by their number. */
  GatherND: (node, [x, indices]) =>
    int(node, 'batch_dims', 0) === 1
      ? [build([x!.shape[0]!, ...x!.shape.slice(2)], ([n, ...rest]) => at(x!, [n!, indices!.data[n!]!, ...rest]))]
      : [build([indices!.shape[0]!, ...x!.shape.slice(1)], ([n, ...rest]) => at(x!, [indices!.data[n!]!, ...rest]))],
  GatherElements: (node, [x, indices]) => {
    const axis = axisOf(int(node, 'axis', 0), x!.shape.length)
    return [
      build(indices!.shape, (index) =>
        at(
          x!,
          index.map((v, i) => (i === axis ? at(indices!, index) : v)),
        ),
      ),
    ]
  },
  ScatterElements: (node, [x, indices, updates]) => {
    const axis = axisOf(int(node, 'axis', 0), x!.shape.length)
    const strides = stridesOf(x!.shape)
    const targets: { place: number; value: number }[] = []
    each(indices!.shape, (index, from) => {
      const place = index.reduce((s, v, i) => s + (i === axis ? indices!.data[from]! : v) * strides[i]!, 0)
      targets.push({ place, value: updates!.data[from]! })
    })
    return scatter(x!, targets, node.attributes.reduction === 'add')
  },
  ScatterND: (node, [x, indices, updates]) => {
    const width = sizeOf(x!.shape.slice(1))
    const targets = [...updates!.data].map((value, i) => ({
      place: indices!.data[Math.floor(i / width)]! * width + (i % width),
      value,
    }))
    return scatter(x!, targets, node.attributes.reduction === 'add')
  },
  Tile: (_, [x, repeats]) => [
    build(
      x!.shape.map((size, i) => size * repeats!.data[i]!),
      (index) =>
        at(
          x!,
          index.map((v, i) => v % x!.shape[i]!),
        ),
    ),
  ],
  Pad: (_, [x, pads, value, axes]) => {
    const before = x!.shape.map(() => 0)
    const shape = [...x!.shape]
    const list = axes ? [...axes.data] : x!.shape.map((_, i) => i)
    list.forEach((axis, i) => {
      before[axis] = pads!.data[i]!
      shape[axis] = shape[axis]! + pads!.data[i]! + pads!.data[i + list.length]!
    })
    return [
      build(shape, (index) => {
        const place = index.map((v, i) => v - before[i]!)
        return place.every((v, i) => v >= 0 && v < x!.shape[i]!) ? at(x!, place) : (value?.data[0] ?? 0)
      }),
    ]
  },
  OneHot: (_, [indices, depth, values]) => [
    build([...indices!.shape, depth!.data[0]!], (index) =>
      indices!.data[stridesOf(indices!.shape).reduce((s, v, i) => s + v * index[i]!, 0)] === index.at(-1)
        ? values!.data[1]!
        : values!.data[0]!,
    ),
  ],
  DepthToSpace: blocks(true),
  SpaceToDepth: blocks(false),
  ...reduce('ReduceSum', sum),
  ...reduce('ReduceMean', (v) => sum(v) / v.length),
  ...reduce('ReduceMax', (v) => Math.max(...v)),
  ...reduce('ReduceMin', (v) => Math.min(...v)),
  ...reduce('ReduceProd', (v) => v.reduce((a, b) => a * b, 1)),
  ...reduce('ReduceL1', (v) => sum(v.map(Math.abs))),
  ...reduce('ReduceL2', (v) => Math.sqrt(sum(v.map((x) => x * x)))),
  ...reduce('ReduceSumSquare', (v) => sum(v.map((x) => x * x))),
  ...reduce('ReduceLogSumExp', (v) => Math.log(sum(v.map(Math.exp)))),
  MatMul: (_, [a, b]) => [matMul(a!, b!)],
  FusedMatMul: (node, [a, b]) => [
    matMul(
      int(node, 'transA', 0) ? swapLast(a!) : a!,
      int(node, 'transB', 0) ? swapLast(b!) : b!,
      float(node, 'alpha', 1),
    ),
  ],
  Gemm: (node, [a, b, c]) => {
    const product = matMul(
      int(node, 'transA', 0) ? swapLast(a!) : a!,
      int(node, 'transB', 0) ? swapLast(b!) : b!,
      float(node, 'alpha', 1),
    )
    if (!c) return [product]
    return [build(product.shape, (i) => at(product, i) + float(node, 'beta', 1) * at(c, i))]
  },
  MultiHeadAttention: (node, [q, k, v, , , bias]) => {
    const heads = int(node, 'num_heads', 1)
    const split = (x: Tensor): Tensor => {
      const [n, l, d] = x.shape as [number, number, number]
      return transpose(tensor([n, l, heads, d / heads], x.data), [0, 2, 1, 3])
    }
    const [Q, K, V] = [split(q!), split(k!), split(v!)] as [Tensor, Tensor, Tensor]
    const scores = matMul(Q, swapLast(K), float(node, 'scale', 0) || 1 / Math.sqrt(Q.shape[3]!))
    const masked = build(scores.shape, (i) => {
      if (int(node, 'unidirectional', 0) && i[3]! > i[2]!) return -Infinity
      return at(scores, i) + (bias ? at(bias, i) : 0)
    })
    const out = transpose(matMul(softmax(false)({ ...node, attributes: { axis: -1 } }, [masked])[0]!, V), [0, 2, 1, 3])
    return [tensor([...q!.shape.slice(0, 2), v!.shape[2]!], out.data)]
  },
  RotaryEmbedding: (node, [x, , cos, sin]) => {
    const d = x!.shape[2]! / int(node, 'num_heads', 1)
    const half = d / 2
    const interleaved = int(node, 'interleaved', 0) === 1
    return [
      build(x!.shape, ([n, l, c]) => {
        const [head, i] = [Math.floor(c! / d) * d, c! % d]
        const pair = interleaved ? Math.floor(i / 2) : i % half
        const second = interleaved ? i % 2 === 1 : i >= half
        const other = interleaved ? i + (second ? -1 : 1) : i + (second ? -half : half)
        const [co, si] = [at(cos!, [l!, pair]), at(sin!, [l!, pair])]
        const partner = at(x!, [n!, l!, head + other])
        return at(x!, [n!, l!, c!]) * co + (second ? partner : -partner) * si
      }),
    ]
  },
  LayerNormalization: (node, [x, w, b]) => norm(x!, w!, b, true, float(node, 'epsilon', 1e-5)),
  SimplifiedLayerNormalization: (node, [x, w]) => {
    const [y, , inverse] = norm(x!, w!, undefined, false, float(node, 'epsilon', 1e-5))
    return [y!, inverse!]
  },
  SkipLayerNormalization: skipNorm(true),
  SkipSimplifiedLayerNormalization: skipNorm(false),
  BatchNormalization: (node, [x, w, b, mean, variance]) => {
    const channels = x!.shape[1]!
    const size = x!.data.length / channels
    const stats = Array.from({ length: channels }, (_, c) => {
      if (!int(node, 'training_mode', 0)) return { m: mean!.data[c]!, v: variance!.data[c]! }
      const values: number[] = []
      each(x!.shape, (index, place) => index[1] === c && values.push(x!.data[place]!))
      const m = sum(values) / size
      return { m, v: sum(values.map((value) => (value - m) ** 2)) / size }
    })
    const epsilon = float(node, 'epsilon', 1e-5)
    return [
      build(x!.shape, (i) => {
        const { m, v } = stats[i[1]!]!
        return ((at(x!, i) - m) / Math.sqrt(v + epsilon)) * w!.data[i[1]!]! + b!.data[i[1]!]!
      }),
      mean!,
      variance!,
    ]
  },
  Conv: conv,
  ConvTranspose: convTranspose,
  MaxPool: pool(true),
  AveragePool: pool(false),
  GlobalAveragePool: (node, [x]) =>
    reduce('r', (v) => sum(v) / v.length).r!({ ...node, attributes: { keepdims: 1 } }, [
      x!,
      tensor(
        [x!.shape.length - 2],
        x!.shape.slice(2).map((_, i) => i + 2),
      ),
    ]),
  Resize: (node, [x]) => {
    const shape = node.outputs[0]!.shape as number[]
    return [
      build(shape, (index) =>
        at(
          x!,
          index.map((v, i) => Math.floor((v * x!.shape[i]!) / shape[i]!)),
        ),
      ),
    ]
  },
}

function constantOf(graph: GraphBuilder, value: Value): Tensor | undefined {
  const bytes = graph.constantBytes(value)
  if (!bytes) return undefined
  const { buffer, byteOffset, byteLength } = bytes.slice()
  const numbers = {
    float32: () => new Float32Array(buffer, byteOffset, byteLength / 4),
    float64: () => new Float64Array(buffer, byteOffset, byteLength / 8),
    int64: () => Array.from(new BigInt64Array(buffer, byteOffset, byteLength / 8), Number),
    bool: () => bytes,
  }[value.dtype as 'float32']()
  return tensor(value.shape as number[], numbers)
}

/** Values of all nodes by name, for given inputs. Names of operators that it lacks are thrown. */
export function interpret(
  graph: GraphBuilder,
  inputs: Record<string, Tensor>,
  nodes: readonly GraphNode[] = graph.nodes,
): Map<string, Tensor> {
  const values = new Map(Object.entries(inputs))
  for (const node of nodes) {
    const given = node.inputs.map((value) => {
      if (!value) return undefined
      const found = values.get(value.name) ?? constantOf(graph, value)
      if (!found) throw new Error(`${node.name} reads ${value.name}, which nobody made`)
      return found
    }) as Tensor[]
    // Reshape, Squeeze and the like: the shape is what the graph says it is.
    const moves = ['Reshape', 'Unsqueeze', 'Squeeze'].includes(node.type)
    const run = OPERATORS[node.type]
    if (!moves && !run) throw new Error(`the interpreter does not know ${node.type}`)
    const outputs = moves ? [tensor(reshaped(node, given), given[0]!.data)] : run!(node, given)
    node.outputs.forEach((value, i) => {
      if (value) values.set(value.name, outputs[i]!)
    })
  }
  return values
}

function reshaped(node: GraphNode, [x, second]: Tensor[]): number[] {
  const { shape } = node.outputs[0]!
  if (shape.every((size) => typeof size === 'number')) return shape as number[]
  const wanted = [...second!.data].map((size, i) => (size === 0 ? x!.shape[i]! : size))
  const rest = wanted.filter((size) => size !== -1).reduce((a, b) => a * b, 1)
  return wanted.map((size) => (size === -1 ? x!.data.length / rest : size))
}
