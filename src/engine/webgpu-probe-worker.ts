/** Asks WebGPU's driver, in a process of its own, for `inspectWebGpu`. */
import { errorText } from '../errors.js'
import { GraphBuilder } from '../graph/builder.js'
import { checkAttention } from './attention-check.js'
import * as ort from './runtime.js'
import type { WebGpuReport } from './webgpu.js'

const SIZE = 4

/** Runs the smallest graph in a type. Throws where there is no adapter, or where that lacks the type. */
async function addIn(dtype: 'float32' | 'float16'): Promise<void> {
  const graph = new GraphBuilder()
  const x = graph.input({ name: 'x', dtype, shape: [SIZE] })
  graph.output(graph.op('Add', [x, x]), { name: 'y', dtype, shape: [SIZE] })
  const session = await ort.InferenceSession.create(graph.encode(''), { executionProviders: ['webgpu'] })
  const data = dtype === 'float16' ? new Uint16Array(SIZE) : new Float32Array(SIZE)
  await session.run({ x: new ort.Tensor(dtype, data as Float32Array, [SIZE]) })
  await session.release()
}

async function inspect(): Promise<WebGpuReport> {
  const problemOf = (work: Promise<void>): Promise<string | null> => work.then(() => null, errorText)
  const closed = await problemOf(addIn('float32'))
  // ONNX Runtime's message begins with a place in its sources.
  if (closed !== null)
    return { usable: false, fp16: null, problem: closed.split('was false. ').at(-1)!.split('\n')[0]! }
  const fp16 = (await problemOf(addIn('float16'))) === null
  const problem = await problemOf(checkAttention('webgpu'))
  return { usable: problem === null, fp16, problem }
}

process.send?.(await inspect(), () => process.exit())
