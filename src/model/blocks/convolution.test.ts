/** Convolutional parts against plain loops in double precision, and their bits in batches of any size. */

import { describe, expect, it } from 'vitest'
import * as ort from '../../engine/runtime.js'
import { GraphBuilder, type Value } from '../../graph/builder.js'
import { createRandom } from '../../math/random.js'
import {
  addConvolution,
  addGroupNorm,
  addNearestUpsample,
  addSwish,
  type ConvContext,
  registerConvolution,
  registerGroupNorm,
} from './convolution.js'
import { interpolationMatrix, type PositionRule } from './positions.js'

function random(count: number, seed: number): Float32Array {
  const source = createRandom(seed)
  return Float32Array.from({ length: count }, () => source.next() * 2 - 1)
}

type Build = (graph: GraphBuilder, x: Value) => Value

/** Runs a part on images [n, C, H, W]; its weights become constants of the file. */
async function run(build: Build, x: Float32Array, dims: number[], threads = 1): Promise<Float32Array> {
  const graph = new GraphBuilder()
  const input = graph.input({ name: 'x', dtype: 'float32', shape: ['N', ...dims.slice(1)] })
  const y = build(graph, input)
  graph.output(y, { name: 'y', dtype: 'float32', shape: y.shape as (number | string)[] })
  const external = await Promise.all(
    graph.blob.map(async ({ offset, bytes, make }) => ({ offset, bytes, data: await make() })),
  )
  const blob = new Uint8Array(graph.blobBytes)
  for (const { offset, data } of external)
    blob.set(new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength), offset)
  const session = await ort.InferenceSession.create(graph.encode('w'), {
    intraOpNumThreads: threads,
    ...(blob.length > 0 ? { externalData: [{ path: 'w', data: blob }] } : {}),
  })
  try {
    const { y: out } = await session.run({ x: new ort.Tensor('float32', x, dims) })
    return out!.data as Float32Array
  } finally {
    await session.release()
  }
}

function closeTo(actual: Float32Array, wanted: ArrayLike<number>, tolerance = 1e-5): void {
  expect(actual.length).toBe(wanted.length)
  for (let i = 0; i < actual.length; i++) expect(Math.abs(actual[i]! - wanted[i]!)).toBeLessThan(tolerance)
}

const C = 64
const SIZE = 13
/** Tensors of any name, by shapes: kernels are small, so that sums are near 1. */
function context(graph: GraphBuilder, shapes: Record<string, number[]>): ConvContext {
  const count = (name: string): number => shapes[name]!.reduce((product, size) => product * size, 1)
  return {
    graph,
    precision: 'fp32',
    shapeOf: (name) => shapes[name]!,
    read: async (name) => random(count(name), name.length).map((value) => value / (name.startsWith('conv.w') ? 10 : 1)),
  }
}
interface Kernel {
  inner?: number
  outer?: number
  kernel?: number
  stride?: number
  pads?: [number, number, number, number]
  group?: number
}
const conv =
  ({ inner = C, outer = 48, kernel = 3, group = 1, ...window }: Kernel): Build =>
  (graph, x) => {
    const shapes = { 'conv.weight': [outer, inner / group, kernel, kernel], 'conv.bias': [outer] }
    return addConvolution(graph, x, registerConvolution(context(graph, shapes), 'conv'), { ...window, group })
  }
const norm: Build = (graph, x) =>
  addGroupNorm(graph, x, registerGroupNorm(context(graph, { 'norm.weight': [C], 'norm.bias': [C] }), 'norm'), 'fp32')
const resampled =
  (rule: PositionRule, width: number): Build =>
  (graph, x) => {
    const from = x.shape[3] as number
    const matrix = interpolationMatrix(from, width, rule) // [to, from]
    const columns = matrix.map((_, i) => matrix[(i % width) * from + Math.floor(i / width)]!)
    return graph.op('MatMul', [x, graph.constant(columns, [from, width])])
  }

const PARTS: [string, Build][] = [
  ['a 3×3 convolution', conv({})],
  ['a 1×1 convolution', conv({ kernel: 1 })],
  ['a depthwise convolution', conv({ outer: C, group: C })],
  ['a convolution of stride 2, padded right and below', conv({ stride: 2, pads: [0, 0, 1, 1] })],
  ['a norm over groups', norm],
  ['swish', addSwish],
  ['nearest, twice', addNearestUpsample],
  ['bicubic', resampled('bicubic', 20)],
  ['bilinear', resampled('bilinear', 9)],
  ['a block of them', (g, x) => conv({})(g, addSwish(g, norm(g, x)))],
]

describe.each(PARTS)('%s', (_, build) => {
  it('gives an image the same bits alone, in a batch of any size, and with any number of threads', async () => {
    const images = 5
    const each = C * SIZE * SIZE
    const x = random(images * each, 1)
    const whole = await run(build, x, [images, C, SIZE, SIZE])
    const size = whole.length / images
    for (const [start, count, threads] of [
      [0, 1, 1],
      [3, 1, 2],
      [1, 2, 1],
      [2, 3, 2],
      [0, 5, 2],
    ] as const) {
      const part = await run(build, x.slice(start * each, (start + count) * each), [count, C, SIZE, SIZE], threads)
      expect(
        Buffer.from(part.buffer).equals(Buffer.from(whole.slice(start * size, (start + count) * size).buffer)),
      ).toBe(true)
    }
  })
})

it('a convolution of stride 2 pads right and below only, as torch after F.pad(x, (0, 1, 0, 1))', async () => {
  const build = conv({ inner: 1, outer: 1, stride: 2, pads: [0, 0, 1, 1] })
  const x = random(16, 2)
  const w = random(9, 'conv.weight'.length).map((value) => value / 10)
  const [b] = random(1, 'conv.bias'.length)
  const at = (r: number, c: number): number => (r < 4 && c < 4 ? x[r * 4 + c]! : 0)
  const wanted = [0, 2].flatMap((r) =>
    [0, 2].map((c) => w.reduce((sum, weight, k) => sum + weight * at(r + Math.floor(k / 3), c + (k % 3)), b!)),
  )
  closeTo(await run(build, x, [1, 1, 4, 4]), wanted)
})

it('a norm over groups is that of its definition', async () => {
  const x = random(C * 9, 5)
  const [weight, bias] = [random(C, 'norm.weight'.length), random(C, 'norm.bias'.length)]
  const wanted = new Float64Array(x.length)
  const size = (C / 32) * 9
  for (let g = 0; g < 32; g++) {
    const values = [...x.subarray(g * size, (g + 1) * size)]
    const mean = values.reduce((a, b) => a + b, 0) / size
    const variance = values.reduce((a, b) => a + (b - mean) ** 2, 0) / size
    values.forEach((value, i) => {
      const c = Math.floor((g * size + i) / 9)
      wanted[g * size + i] = ((value - mean) / Math.sqrt(variance + 1e-6)) * weight[c]! + bias[c]!
    })
  }
  closeTo(await run(norm, x, [1, C, 3, 3]), wanted)
})

it('nearest repeats rows and columns', async () => {
  closeTo(
    await run(addNearestUpsample, Float32Array.of(1, 2, 3, 4, 5, 6), [1, 1, 2, 3]),
    [1, 1, 2, 2, 3, 3, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 4, 4, 5, 5, 6, 6],
  )
})

it('resampling keeps constants, and bilinear straight lines', async () => {
  for (const rule of ['bilinear', 'bicubic', 'bicubic-antialias'] as const) {
    for (const width of [7, 32]) {
      closeTo(await run(resampled(rule, width), new Float32Array(16).fill(3), [1, 1, 1, 16]), new Array(width).fill(3))
      if (rule.startsWith('bicubic')) continue // a = −0.75 bends lines
      const line = await run(
        resampled(rule, width),
        Float32Array.from({ length: 16 }, (_, i) => i),
        [1, 1, 1, 16],
      )
      const middle = Math.floor(width / 2)
      expect(line[middle]).toBeCloseTo(((middle + 0.5) * 16) / width - 0.5, 4)
    }
  }
})
