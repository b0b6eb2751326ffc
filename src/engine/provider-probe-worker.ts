/** Asks a provider's driver, in a process of its own, for `probeProvider`: the answer goes to file descriptor 3. */
import { readdirSync, readFileSync, readlinkSync, writeSync } from 'node:fs'
import { errorText } from '../errors.js'
import { GraphBuilder } from '../graph/builder.js'
import { checkAttention, needsCheck } from './attention-check.js'
import type { ProviderReport } from './provider-probe.js'
import { providerOption } from './providers.js'
import * as ort from './runtime.js'

/** Channels and sides: small, and large enough for the kernels of a real convolution and product. */
const [CHANNELS, SIDE] = [8, 8]

/** A convolution and a product in a type: what every network has, and what needs cuDNN and cuBLAS. Throws where they do not run. */
async function computeIn(dtype: 'float32' | 'float16', provider: string): Promise<void> {
  const graph = new GraphBuilder()
  const shape = [1, CHANNELS, SIDE, SIDE]
  const x = graph.input({ name: 'x', dtype, shape })
  const weight = graph.input({ name: 'weight', dtype, shape: [CHANNELS, CHANNELS, 1, 1] })
  const mixed = graph.op('Conv', [x, weight], { kernel_shape: [1, 1] })
  graph.output(graph.op('MatMul', [mixed, x]), { name: 'y', dtype, shape })
  const options = { executionProviders: [providerOption(provider), 'cpu'] } as ort.SessionOptions
  const session = await ort.InferenceSession.create(graph.encode(''), options)
  const zeros = (dims: number[]): ort.Tensor => {
    const count = dims.reduce((a, b) => a * b)
    const data = dtype === 'float16' ? new Uint16Array(count) : new Float32Array(count)
    return new ort.Tensor(dtype, data as Float32Array, dims)
  }
  await session.run({ x: zeros(shape), weight: zeros([CHANNELS, CHANNELS, 1, 1]) })
  await session.release()
}

/** ONNX Runtime's message begins with a place in its sources; what follows is the reason. */
function reasonOf(error: unknown): string {
  return errorText(error)
    .split(/was false\. |with error: /)
    .at(-1)!
    .split('\n')[0]!
    .trim()
}

/** Paths that this process has mapped or holds open, where the system tells (Linux). */
function traces(): Pick<ProviderReport, 'libraries' | 'nodes'> {
  try {
    const maps = readFileSync('/proc/self/maps', 'utf8').split('\n')
    const libraries = maps.map((line) => line.split(/\s+/, 6)[5] ?? '').filter((file) => /\.so(\.|$)/.test(file))
    const nodes = readdirSync('/proc/self/fd').flatMap((fd) => {
      try {
        return [readlinkSync(`/proc/self/fd/${fd}`)]
      } catch {
        return [] // Closed meanwhile.
      }
    })
    return { libraries: [...new Set(libraries)], nodes: [...new Set(nodes.filter((file) => file.startsWith('/dev/')))] }
  } catch {
    return { libraries: [], nodes: [] }
  }
}

async function inspect(provider: string): Promise<ProviderReport> {
  const problemOf = (work: Promise<void>): Promise<string | null> => work.then(() => null, reasonOf)
  const closed = await problemOf(computeIn('float32', provider))
  if (closed !== null) return { usable: false, fp16: null, problem: closed, ...traces() }
  const fp16 = (await problemOf(computeIn('float16', provider))) === null
  const found = traces()
  const problem = needsCheck(provider) ? await problemOf(checkAttention(provider)) : null
  return { usable: problem === null, fp16, problem, ...found }
}

writeSync(3, JSON.stringify(await inspect(process.argv[2]!)))
// A driver's threads may keep the process.
process.exit()
