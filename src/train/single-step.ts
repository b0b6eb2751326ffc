/** One optimiser step with the engine for the gradients: they come as new arrays, and are let go at once. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import * as ort from '../engine/runtime.js'
import { averageFrozen, clipFactor, globalNorm, updateTensor } from './adamw.js'
import { isFrozen, parameterInput, type StateKind } from './state.js'
import type { StepRates, StepResult, StepWorkerData, TrainBatch } from './step.js'
import type { StepGraph } from './step-graph.js'
import { PLAN_COLUMNS } from './transport.js'

/** What the thread of a training has. */
export interface WorkerParts {
  session: ort.InferenceSession
  settings: StepWorkerData
  state: Map<string, Partial<Record<StateKind, Float32Array>>>
  stateOf(kind: StateKind, name: string): Float32Array
}

interface GivenStep {
  batch: TrainBatch
  /** [samples, 6], see transport.ts. */
  plan: Float32Array
  rates: StepRates
}

setFlagsFromString('--expose-gc')
/** The engine's copies are as large as the model: they must not wait for V8 to notice them. */
export const collectGarbage = runInNewContext('gc') as () => void

export const floatTensor = (data: Float32Array, dims: readonly number[]): ort.Tensor =>
  new ort.Tensor('float32', data, [...dims])

/** A batch as inputs; `lead` are the axes before a sample's own. */
export function batchFeeds(
  { settings: { latent } }: WorkerParts,
  { x1, x0, t, labels }: TrainBatch,
  plan: Float32Array,
  lead: readonly number[],
): Record<string, ort.Tensor> {
  return {
    x1: floatTensor(x1, [...lead, ...latent]),
    x0: floatTensor(x0, [...lead, ...latent]),
    t: floatTensor(t, lead),
    labels: new ort.Tensor('int64', labels, [...lead]),
    plan: floatTensor(plan, [...lead, PLAN_COLUMNS]),
    unit: floatTensor(Float32Array.of(1), []),
    zero: floatTensor(Float32Array.of(0), []),
  }
}

/** Those feeds that the graph has inputs for. */
export function neededFeeds({ settings }: WorkerParts, feeds: Record<string, ort.Tensor>): Record<string, ort.Tensor> {
  return Object.fromEntries(settings.inputs.map((name) => [name, feeds[name]!]))
}

/** One step; nothing is changed where it is not finite. */
export async function runStep(
  parts: WorkerParts,
  outputs: Omit<StepGraph, 'graph'>,
  given: GivenStep,
): Promise<StepResult> {
  const { settings, session, stateOf } = parts
  const started = performance.now()
  const feeds = batchFeeds(parts, given.batch, given.plan, settings.lead)
  for (const [name, shape] of settings.shapes) feeds[parameterInput(name)] = floatTensor(stateOf('param', name), shape)
  const results = await session.run(neededFeeds(parts, feeds))
  const ended = performance.now()
  const values = (name: string): Float32Array => results[name]!.data as Float32Array
  const gradients = new Map([...outputs.gradients].map(([name, output]) => [name, values(output)]))
  const mse = values(outputs.mse).slice()
  const cos = outputs.cos === undefined ? undefined : values(outputs.cos).slice()
  const gradNorm = globalNorm([...gradients.values()])
  const finite = [gradNorm, ...mse, ...(cos ?? [])].every(Number.isFinite)
  if (finite) update(parts, gradients, given.rates, gradNorm)
  for (const name of Object.keys(results)) delete (results as Record<string, unknown>)[name]
  gradients.clear()
  collectGarbage()
  const seconds = { gradients: (ended - started) / 1000, optimizer: (performance.now() - ended) / 1000 }
  return { finite, mse, ...(cos && { cos }), gradNorm, seconds }
}

function update(
  { settings: { optimizer, shapes }, stateOf }: WorkerParts,
  gradients: ReadonlyMap<string, Float32Array>,
  rates: StepRates,
  norm: number,
): void {
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
