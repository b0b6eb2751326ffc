/**
 * The thread that trains: it owns the session, the parameters, moments and averages (float32, 16 bytes per parameter).
 * The engine reads state where it lies; what it gives comes as new arrays.
 */
import { type Answer, serveThread, threadData } from '../async/serve-thread.js'
import { providerOption } from '../engine/providers.js'
import * as ort from '../engine/runtime.js'
import { runSteps } from './run-steps.js'
import { runStep, type WorkerParts } from './single-step.js'
import type { RunReply, StepReply, StepRequest, StepWorkerData } from './step.js'

const settings = threadData<StepWorkerData>()
let parts: WorkerParts

type RunRequest = Extract<StepRequest, { type: 'run' }>

async function run({ batches, plans, rates }: RunRequest): Promise<RunReply> {
  if ('state' in settings.outputs) {
    const reply = await runSteps(parts, settings.outputs, { batches, plans, rates })
    settings.lossScale = reply.lossScale
    return reply
  }
  const results: RunReply['results'] = []
  for (const [i, batch] of batches.entries()) {
    results.push(await runStep(parts, settings.outputs, { batch, plan: plans[i]!, rates: rates[i]! }))
    if (!results[i]!.finite) break
  }
  return { results }
}

async function handle(request: StepRequest): Promise<Answer<StepReply>> {
  if (request.type === 'run') return { reply: await run(request) }
  const { kind, name } = request
  if (request.type === 'read') {
    const values = parts.stateOf(kind, name).slice()
    return { reply: values, transfer: [values.buffer] }
  }
  parts.state.get(name)![kind] = request.values
  return { reply: undefined }
}

async function start(): Promise<void> {
  const session = await ort.InferenceSession.create(settings.graph, {
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
  const state: WorkerParts['state'] = new Map(settings.shapes.map(([name]) => [name, {}]))
  const stateOf: WorkerParts['stateOf'] = (kind, name) => {
    const found = state.get(name)?.[kind]
    if (!found) throw new Error(`there is no ${kind} of ${name}`)
    return found
  }
  parts = { session, settings, state, stateOf }
}

serveThread({ start, handle, close: () => parts.session.release() })
