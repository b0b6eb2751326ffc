/**
 * The thread that trains: it owns the session, the parameters, moments and averages (float32, 16 bytes per parameter)
 * and runs the optimiser. The engine reads parameters where they lie; the gradients of a step come as new arrays, and
 * are let go at once.
 */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { type Answer, serveThread, threadData } from '../async/serve-thread.js'
import { providerOption } from '../engine/providers.js'
import * as ort from '../engine/runtime.js'
import { averageFrozen, clipFactor, globalNorm, updateTensor } from './adamw.js'
import { isFrozen, parameterInput, type StateKind } from './state.js'
import type { StepReply, StepRequest, StepResult, StepWorkerData } from './step.js'
import { PLAN_COLUMNS } from './transport.js'

const settings = threadData<StepWorkerData>()
let session: ort.InferenceSession

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

const state = new Map<string, Partial<Record<StateKind, Float32Array>>>(settings.shapes.map(([name]) => [name, {}]))

function stateOf(kind: StateKind, name: string): Float32Array {
  const found = state.get(name)?.[kind]
  if (!found) throw new Error(`there is no ${kind} of ${name}`)
  return found
}

type RunRequest = Extract<StepRequest, { type: 'run' }>

function feedsOf({ batch, plan }: RunRequest): Record<string, ort.Tensor> {
  const { lead, latent, shapes, inputs } = settings
  const float = (data: Float32Array, dims: number[]): ort.Tensor => new ort.Tensor('float32', data, dims)
  const feeds: Record<string, ort.Tensor> = {
    x1: float(batch.x1, [...lead, ...latent]),
    x0: float(batch.x0, [...lead, ...latent]),
    t: float(batch.t, lead),
    labels: new ort.Tensor('int64', batch.labels, lead),
    plan: float(plan, [...lead, PLAN_COLUMNS]),
    unit: float(Float32Array.of(1), []),
    zero: float(Float32Array.of(0), []),
  }
  for (const [name, shape] of shapes) feeds[parameterInput(name)] = float(stateOf('param', name), shape)
  return Object.fromEntries(inputs.map((name) => [name, feeds[name]!]))
}

function update(gradients: Map<string, Float32Array>, { rates }: RunRequest, norm: number): void {
  const { optimizer, shapes } = settings
  const gradientScale = clipFactor(norm, optimizer)
  for (const [name] of shapes) {
    const [parameter, ema] = [stateOf('param', name), stateOf('ema', name)]
    if (isFrozen(name)) averageFrozen(ema, parameter, optimizer.emaDecay)
    else {
      const tensor = { parameter, ema, expAvg: stateOf('exp_avg', name), expAvgSq: stateOf('exp_avg_sq', name) }
      updateTensor(tensor, gradients.get(name)!, optimizer, { ...rates, gradientScale })
    }
  }
}

async function run(request: RunRequest): Promise<StepResult> {
  const started = performance.now()
  const results = await session.run(feedsOf(request))
  const ended = performance.now()
  const values = (name: string): Float32Array => results[name]!.data as Float32Array
  const gradients = new Map(settings.gradients.map(([name, output]) => [name, values(output)]))
  const mse = values(settings.mse).slice()
  const cos = settings.cos === undefined ? undefined : values(settings.cos).slice()
  const gradNorm = globalNorm([...gradients.values()])
  const finite = [gradNorm, ...mse, ...(cos ?? [])].every(Number.isFinite)
  if (finite) update(gradients, request, gradNorm)
  for (const name of Object.keys(results)) delete (results as Record<string, unknown>)[name]
  gradients.clear()
  // The engine's copies of the gradients are as large as the model: they must not wait for V8 to notice them.
  collectGarbage()
  const seconds = { gradients: (ended - started) / 1000, optimizer: (performance.now() - ended) / 1000 }
  return { finite, mse, ...(cos && { cos }), gradNorm, seconds }
}

async function handle(request: StepRequest): Promise<Answer<StepReply>> {
  if (request.type === 'run') return { reply: await run(request) }
  const { kind, name } = request
  if (request.type === 'read') {
    const values = stateOf(kind, name).slice()
    return { reply: values, transfer: [values.buffer] }
  }
  state.get(name)![kind] = request.values
  return { reply: undefined }
}

async function start(): Promise<void> {
  session = await ort.InferenceSession.create(settings.graph, {
    executionProviders: settings.providers.map(providerOption),
    intraOpNumThreads: settings.threads,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    graphOptimizationLevel: 'all',
    enableCpuMemArena: true,
    // A plan of all memory ahead keeps more of it than is ever needed at once (470 MB of a model of 33M).
    enableMemPattern: false,
    // Idle threads must not spin while the optimiser runs.
    extra: { session: { intra_op: { allow_spinning: '0' } } },
  })
}

serveThread({ start, handle, close: () => session.release() })
