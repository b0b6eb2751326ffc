/**
 * A worker thread that owns one ONNX Runtime session. `session.run` blocks the thread it is called on,
 * so the thread that reads, schedules and writes never calls it. Runs are queued in arrival order;
 * posting the next batch while one runs keeps the session busy.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { type Answer, freeBuffers, serveThread } from '../async/serve-thread.js'
import { writeAtomically } from '../io/atomic.js'
import { providerOption } from './providers.js'
import * as ort from './runtime.js'
import type { RunResult, SessionOpening, SessionRequest, SessionSettings, TensorValue } from './session.js'

let session: ort.InferenceSession | undefined

/** ONNX Runtime takes no shared memory: a shared input is copied once, here, off the main thread. */
function toTensor(value: TensorValue): ort.Tensor {
  const { data } = value
  const own = data.buffer instanceof SharedArrayBuffer ? data.slice() : data
  return new ort.Tensor(value.dtype as 'uint8', own as Uint8Array, value.dims)
}

/** Whether the graph has products of bytes that would overflow here; only then is the trial worth its imports. */
async function needsExactInt8(path: string): Promise<boolean> {
  if (!(await readFile(path)).includes('MatMulInteger')) return false
  const { overflowsInt8 } = await import('./int8-kernels.js')
  return overflowsInt8()
}

/** The file that the provider runs: where some of its kernels are not trusted, one without them. */
async function fileFor(path: string, provider: string): Promise<string> {
  const { checkAttention, needsCheck } = await import('./attention-check.js')
  if (!needsCheck(provider)) return path
  await checkAttention(provider)
  const { bySoundKernels } = await import('../graph/sound-kernels.js')
  const bytes = bySoundKernels(await readFile(path))
  if (!bytes) return path
  const file = path.replace(/(\.onnx)?$/, '.plain.onnx')
  await writeAtomically(file, (tmp) => writeFile(tmp, bytes))
  return file
}

/** Sets the library up before the graph is known: opening what is no graph does that and no more. */
async function start(): Promise<void> {
  await ort.InferenceSession.create(new Uint8Array()).catch(() => {})
}

async function open(settings: SessionSettings): Promise<void> {
  const [first = 'cpu'] = settings.providers
  const file = first === 'cpu' ? settings.path : await fileFor(settings.path, first)
  session = await ort.InferenceSession.create(file, {
    executionProviders: settings.providers.map(providerOption),
    intraOpNumThreads: settings.threads,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    graphOptimizationLevel: settings.mapped ? 'disabled' : 'all',
    enableCpuMemArena: true,
    extra: {
      session: {
        x64quantprecision: (await needsExactInt8(settings.path)) ? '1' : '0',
        disable_prepacking: settings.mapped ? '1' : '0',
        intra_op: { allow_spinning: settings.spinning ? '1' : '0' },
      },
    },
  })
}

async function run(request: SessionRequest): Promise<Answer<RunResult>> {
  const began = performance.now()
  const feeds: Record<string, ort.Tensor> = {}
  for (const [name, value] of Object.entries(request.inputs)) feeds[name] = toTensor(value)
  // Copies of ours, and what was given over whole: large enough not to be left to the collector.
  const used = Object.values(feeds).map(({ data }) => (data as Uint8Array).buffer)
  const results = await (request.fetches ? session!.run(feeds, request.fetches) : session!.run(feeds))
  const outputs: Record<string, TensorValue> = {}
  const transfer: ArrayBuffer[] = []
  for (const [name, tensor] of Object.entries(results)) {
    const raw = tensor.data as Uint8Array
    // Node 24 returns float16 tensors as Float16Array; raw bits are what shards store.
    const data = tensor.type === 'float16' ? new Uint16Array(raw.buffer, raw.byteOffset, raw.length) : raw
    outputs[name] = { data, dtype: tensor.type, dims: [...tensor.dims] }
    transfer.push(data.buffer as ArrayBuffer)
  }
  freeBuffers(used.filter((buffer) => !transfer.includes(buffer as ArrayBuffer)))
  return { reply: { outputs, seconds: (performance.now() - began) / 1000 }, transfer }
}

serveThread<SessionOpening | SessionRequest, RunResult | undefined>({
  start,
  async handle(request) {
    if ('inputs' in request) return run(request)
    await open(request.open)
    return { reply: undefined }
  },
  close: async () => session?.release(),
})
