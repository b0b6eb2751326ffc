/**
 * Whether a provider computes attention rightly. ONNX Runtime's providers for WebGPU, CoreML and DirectML meet
 * drivers that nobody tested, and a wrong kernel gives plausible numbers. So one small attention runs on the provider
 * and on the CPU when a session opens, and a difference refuses the provider.
 */
import { GraphBuilder } from '../graph/builder.js'
import { bySoundKernels } from '../graph/sound-kernels.js'
import { type ProviderOption, providerOption } from './providers.js'
import * as ort from './runtime.js'

/** More tokens than a subgroup has lanes: it is there that kernels went wrong. */
const [ROWS, TOKENS, WIDTH, HEADS] = [2, 80, 64, 2]
/** Halves inside a provider cost 0.1 %; the wrong kernel cost 3 %. */
const TOLERANCE = 0.01

/** Providers that are checked; the others have tests of their own. */
export function needsCheck(provider: string): boolean {
  return !/^(cpu|cuda)/.test(provider)
}

function checkGraph(fused: boolean): Uint8Array {
  const graph = new GraphBuilder()
  const shape = ['N', TOKENS, WIDTH]
  const x = graph.input({ name: 'x', dtype: 'float32', shape })
  const weights = Array.from({ length: 3 }, (_, at) =>
    graph.constant(
      Float32Array.from({ length: WIDTH * WIDTH }, (_, i) => Math.sin(i * (at + 1.3)) / 4),
      [WIDTH, WIDTH],
    ),
  )
  const [q, k, v] = weights.map((weight) => graph.op('MatMul', [x, weight]))
  const attributes = { num_heads: HEADS, scale: { float: 1 / Math.sqrt(WIDTH / HEADS) } }
  const y = graph.op('MultiHeadAttention', [q!, k!, v!], attributes, 'com.microsoft')
  graph.output(y, { name: 'y', dtype: 'float32', shape })
  const bytes = graph.encode('')
  return fused ? bytes : bySoundKernels(bytes)!
}

async function run(graph: Uint8Array, provider: ProviderOption): Promise<Float32Array> {
  const options = { executionProviders: [provider, 'cpu'], intraOpNumThreads: 1, interOpNumThreads: 1 }
  const session = await ort.InferenceSession.create(graph, options as ort.SessionOptions)
  try {
    const data = Float32Array.from({ length: ROWS * TOKENS * WIDTH }, (_, i) => Math.cos(i * 0.917))
    const { y } = await session.run({ x: new ort.Tensor('float32', data, [ROWS, TOKENS, WIDTH]) })
    return y!.data as Float32Array
  } finally {
    await session.release()
  }
}

/** Mean relative error: |found − expected| by |expected|. NaN where a number is none. */
export function relativeError(expected: Float32Array, found: Float32Array): number {
  let [difference, size] = [0, 0]
  for (const [i, value] of expected.entries()) {
    difference += (found[i]! - value) ** 2
    size += value ** 2
  }
  return Math.sqrt(difference / size)
}

/** Throws where the provider's attention, as sessions run it or by the `fused` kernel, is not the CPU's. */
export async function checkAttention(provider: string, { fused = false } = {}): Promise<void> {
  const graph = checkGraph(fused)
  const error = relativeError(await run(graph, 'cpu'), await run(graph, providerOption(provider)))
  if (error <= TOLERANCE) return
  const size = Number.isNaN(error) ? 'not a number' : `${(100 * error).toFixed(1)} % off`
  throw new Error(`${provider} computes wrong numbers on this machine: a small attention is ${size}. Use --device cpu`)
}
