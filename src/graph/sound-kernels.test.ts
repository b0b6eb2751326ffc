import { describe, expect, it } from 'vitest'
import * as ort from '../engine/runtime.js'
import { GraphBuilder } from './builder.js'
import { bySoundKernels } from './sound-kernels.js'

const WIDTH = 24

/** Causal or not, with q of its own length. */
function attentionGraph(causal: boolean, heads: number): Uint8Array {
  const graph = new GraphBuilder()
  const [q, k, v] = ['q', 'k', 'v'].map((name) =>
    graph.input({ name, dtype: 'float32', shape: ['N', name === 'q' ? 'L' : 'M', WIDTH] }),
  )
  const scale = { float: 0.7 }
  const attributes = { num_heads: heads, scale, ...(causal ? { unidirectional: 1 } : {}) }
  const out = graph.op('MultiHeadAttention', [q, k, v], attributes, 'com.microsoft')
  graph.output(out, { name: 'out', dtype: 'float32', shape: ['N', 'L', WIDTH] })
  return graph.encode('')
}

const wave = (count: number, step: number): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => 2 * Math.sin(i * step + step))

async function run(model: Uint8Array, [n, l, m]: [number, number, number]): Promise<Float32Array> {
  const session = await ort.InferenceSession.create(model, { intraOpNumThreads: 1 })
  const feed = (length: number, step: number) =>
    new ort.Tensor('float32', wave(n * length * WIDTH, step), [n, length, WIDTH])
  const { out } = await session.run({ q: feed(l, 0.37), k: feed(m, 0.73), v: feed(m, 1.1) })
  await session.release()
  return out!.data as Float32Array
}

describe('attention written out', () => {
  it.each<[boolean, number, [number, number, number]]>([
    [false, 1, [2, 5, 5]],
    [false, 3, [1, 40, 40]],
    [false, 2, [3, 1, 17]],
    [true, 4, [2, 33, 33]],
  ])('causal %s, %i heads, %j: the numbers of the fused operator', async (causal, heads, shape) => {
    const fused = attentionGraph(causal, heads)
    const plain = bySoundKernels(fused)!
    const [expected, found] = [await run(fused, shape), await run(plain, shape)]
    expect(found.length).toBe(expected.length)
    found.forEach((value, i) => {
      expect(value).toBeCloseTo(expected[i]!, 5)
    })
  })

  it('is nothing to do in a graph without it', () => {
    const graph = new GraphBuilder()
    const x = graph.input({ name: 'x', dtype: 'float32', shape: ['N'] })
    graph.output(graph.op('Add', [x, x]), { name: 'y', dtype: 'float32', shape: ['N'] })
    expect(bySoundKernels(graph.encode(''))).toBeUndefined()
  })
})

/** A convolution of 3×3 over [N, channels, 5, 4]. */
function convolution(channels: number): Uint8Array {
  const graph = new GraphBuilder()
  const x = graph.input({ name: 'x', dtype: 'float32', shape: ['N', channels, 5, 4] })
  const weight = graph.constant(wave(8 * channels * 9, 0.3), [8, channels, 3, 3])
  const bias = graph.constant(wave(8, 0.9), [8])
  const y = graph.op('Conv', [x, weight, bias], { kernel_shape: [3, 3], strides: [1, 1], pads: [1, 1, 1, 1], group: 1 })
  graph.output(y, { name: 'y', dtype: 'float32', shape: ['N', 8, 5, 4] })
  return graph.encode('')
}

async function convolve(model: Uint8Array, channels: number): Promise<Float32Array> {
  const session = await ort.InferenceSession.create(model, { intraOpNumThreads: 1 })
  const shape = [2, channels, 5, 4]
  const { y } = await session.run({ x: new ort.Tensor('float32', wave(40 * channels, 0.61), shape) })
  await session.release()
  return y!.data as Float32Array
}

describe('a convolution over channels that WebGPU reads by threes', () => {
  it.each([6, 9, 15])('%i of them: padded, the numbers are the same', async (channels) => {
    const plain = convolution(channels)
    const padded = bySoundKernels(plain)!
    const [expected, found] = [await convolve(plain, channels), await convolve(padded, channels)]
    found.forEach((value, i) => {
      expect(value).toBeCloseTo(expected[i]!, 4)
    })
  })
  it.each([3, 4, 5, 12])('%i of them are left as they are', (channels) => {
    expect(bySoundKernels(convolution(channels))).toBeUndefined()
  })
})
