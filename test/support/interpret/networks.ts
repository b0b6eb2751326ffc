/** Products, attention, norms, convolutions and pools, from their definitions. */
import type { GraphNode } from '../../../src/graph/builder.js'
import { reduce, softmax } from './pointwise.js'
import {
  at,
  build,
  each,
  float,
  int,
  ints,
  matMul,
  type Run,
  sizeOf,
  stridesOf,
  sum,
  swapLast,
  type Tensor,
  tensor,
  transpose,
} from './tensor.js'

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

export const NETWORKS: Record<string, Run> = {
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
