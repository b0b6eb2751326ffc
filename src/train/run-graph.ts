/**
 * Several optimiser steps as one graph: an ONNX `Loop` over the steps of a run carries parameters, moments and averages,
 * so that they stay on the device between steps. How many steps a run has is known when it is run, and decides no bit:
 * one run of K steps gives what K runs of one step give.
 *
 * A step is that of step-worker.ts, operation for operation: gradients (step-graph.ts), their norm in float64, clipping,
 * AdamW and the moving average (adamw-graph.ts). A step that is not finite changes nothing. Without a scale of the loss
 * the loop ends there; with one it goes on where only the gradients overflowed.
 */
import { GraphBuilder, type Value } from '../graph/builder.js'
import { ELEMENT, type Port } from '../graph/value.js'
import type { OptimizerSettings } from './adamw.js'
import {
  addAverage,
  addGlobalNorm,
  addGradientScale,
  addUpdate,
  doubleSum,
  type GraphRates,
  type TensorState,
} from './adamw-graph.js'
import { addRescaling } from './loss-scale.js'
import { hasState, isFrozen, STATE_KINDS, type StateKind, stateInput, stateTensors } from './state.js'
import {
  addStepGradients,
  type BatchInputs,
  batchInputs,
  pickBatch,
  type StepGraphSpec,
  trainedTensors,
} from './step-graph.js'

export interface RunGraphSpec extends StepGraphSpec {
  optimizer: OptimizerSettings
  /** For float16: whether the scale of the loss changes with overflows; undefined: the loss has none. */
  lossScale?: 'dynamic' | 'static'
}

/** Names of the graph's outputs. By step, [steps, …]: losses per sample, `norm` of the gradients (float64), `updated` (bool). */
export interface RunGraph extends Scanned<string> {
  graph: GraphBuilder
  state: { kind: StateKind; name: string; output: string }[]
  /** Of a dynamic scale: what it was in every step (`scales`), and is after the last one, with its count. */
  scale?: string
  good?: string
}

/** What a whole run is given. */
interface RunInputs {
  steps: Value
  state: Map<string, TensorState>
  batch: BatchInputs
  /** By step. */
  lr: Value
  keep?: Value
  /** By update that is made. */
  correction: Value
  root: Value
  scale?: Value
  good?: Value
  unit?: Value
  zero?: Value
}

/** A value that a step leaves for the next one: before the first step, in a step, and after it. */
interface Carried {
  first: Value
  now: Value
  next?: Value
}

interface CarriedState extends Carried {
  kind: StateKind
  name: string
}

/**
 * Builds the graph. Inputs: `steps` (int64) how many; the state (`stateInput`); a batch as for one step with the steps
 * as first axis; `lr` (float64) and, with weight decay, `keep` = 1 − lr · decay by step; `correction` = 1 − β₁ⁿ (float64)
 * and `root` = √(1 − β₂ⁿ) by update; `scale` and, where it is dynamic, `good`; `unit` = 1 and `zero` = 0 where it has them.
 */
export function buildRunGraph(spec: RunGraphSpec): RunGraph {
  const graph = new GraphBuilder()
  const inputs = runInputs(graph, spec)
  const body = new GraphBuilder('step.')
  const at = body.input({ name: 'step.at', dtype: 'int64', shape: [] })
  body.input({ name: 'step.go', dtype: 'bool', shape: [] })
  const carry = (name: string, first: Value): Carried => {
    const port = { name: `step.${name}`, dtype: first.dtype as Port['dtype'], shape: [...first.shape] as number[] }
    return { first, now: body.input(port) }
  }
  const updates = carry('updates', graph.constant([0], [], 'int64'))
  const scaling = inputs.good ? ([carry('scale', inputs.scale!), carry('good', inputs.good)] as const) : undefined
  const state = [...inputs.state].flatMap(([name, given]) =>
    carriedKinds(name).map((kind): CarriedState => ({ kind, name, ...carry(stateInput(kind, name), given[kind]!) })),
  )
  const scale = scaling ? scaling[0].now : inputs.scale
  const made = addStep(body, spec, inputs, { at, updates: updates.now, state, scale })
  updates.next = body.op('Add', [updates.now, body.op('Cast', [made.ok], { to: ELEMENT.int64 })])
  if (scaling) {
    const next = addRescaling(body, scaling[0].now, scaling[1].now, made.ok)
    scaling.forEach((one, i) => {
      one.next = next[i]
    })
  }
  for (const one of state) one.next = body.op('Where', [made.ok, made.state.get(one.name)![one.kind]!, one.now])
  const { mse, cos, norm, ok } = made
  const loop = addLoop(graph, body, inputs.steps, {
    again: spec.lossScale ? made.finite : ok,
    carried: [updates, ...(scaling ?? []), ...state],
    scanned: {
      mse,
      norm,
      updated: body.op('Identity', [ok]),
      ...(cos && { cos }),
      ...(scaling && { scales: body.op('Identity', [scale!]) }),
    },
  })
  const outputOf = (one: Carried): string => loop.carried.get(one)!
  return {
    graph,
    state: state.map((one) => ({ kind: one.kind, name: one.name, output: outputOf(one) })),
    ...loop.scanned,
    ...(scaling && { scale: outputOf(scaling[0]), good: outputOf(scaling[1]) }),
  }
}

function runInputs(graph: GraphBuilder, spec: RunGraphSpec): RunInputs {
  const { config, microBatches, checkpointActivations, optimizer, lossScale } = spec
  const input =
    (dtype: Port['dtype']) =>
    (name: string, ...shape: (number | string)[]): Value =>
      graph.input({ name, dtype, shape })
  const [float, double, int] = [input('float32'), input('float64'), input('int64')]
  const steps = int('steps')
  const state = new Map<string, TensorState>()
  for (const [name, shape] of stateTensors(config)) {
    const kinds = STATE_KINDS.filter((kind) => hasState(kind, name))
    state.set(name, Object.fromEntries(kinds.map((kind) => [kind, float(stateInput(kind, name), ...shape)])))
  }
  return {
    ...{ steps, state },
    batch: batchInputs(graph, spec, ['K', ...(microBatches > 1 ? [microBatches] : [])]),
    ...{ lr: double('lr', 'K'), correction: double('correction', 'K'), root: float('root', 'K') },
    ...(optimizer.weightDecay !== 0 && { keep: float('keep', 'K') }),
    ...(lossScale && { scale: float('scale') }),
    ...(lossScale === 'dynamic' && { good: int('good') }),
    ...(checkpointActivations && { unit: float('unit') }),
    ...(microBatches > 1 && { zero: float('zero') }),
  }
}

/** What changes from step to step: not the position embedding, but its average. */
const carriedKinds = (name: string): StateKind[] =>
  STATE_KINDS.filter((kind) => hasState(kind, name) && !(kind === 'param' && isFrozen(name)))

interface StepNow {
  at: Value
  /** Updates of this run so far. */
  updates: Value
  state: readonly CarriedState[]
  scale: Value | undefined
}

interface StepMade {
  /** Whether the losses are finite, and whether everything is. */
  finite: Value
  ok: Value
  norm: Value
  mse: Value
  cos?: Value
  /** Of every tensor, if the step counts. */
  state: Map<string, TensorState>
}

/** One step in the body of the loop. */
function addStep(body: GraphBuilder, spec: RunGraphSpec, inputs: RunInputs, now: StepNow): StepMade {
  const { optimizer } = spec
  const { at, updates, scale } = now
  const state = new Map([...inputs.state].map(([name, given]): [string, TensorState] => [name, { ...given }]))
  for (const { kind, name, now: value } of now.state) state.get(name)![kind] = value
  const parameters = new Map([...state].map(([name, { param }]) => [name, param!]))
  const { unit, zero } = inputs
  const batch = pickBatch(body, inputs.batch, at)
  const { gradients, mse, cos } = addStepGradients(body, spec, { parameters, batch, unit, zero, lossScale: scale })
  const norm = addGlobalNorm(body, gradients, scale)
  const losses = cos ? body.op('Add', [doubleSum(body, mse), doubleSum(body, cos)]) : doubleSum(body, mse)
  const finite = isWhole(body, losses)
  const ok = body.op('And', [finite, isWhole(body, norm)])
  const pick = (value: Value, index: Value): Value => body.op('Gather', [value, index], { axis: 0 })
  const size = body.op('Div', [pick(inputs.lr, at), pick(inputs.correction, updates)])
  const rates: GraphRates = {
    stepSize: body.op('Cast', [size], { to: ELEMENT.float32 }),
    root: pick(inputs.root, updates),
    keep: inputs.keep && pick(inputs.keep, at),
    gradientScale: addGradientScale(body, norm, optimizer, scale),
  }
  const byName = new Map(trainedTensors(spec.config).map((name, i) => [name, gradients[i]!]))
  const next = new Map(
    [...state].map(([name, old]): [string, TensorState] => {
      const gradient = byName.get(name)
      if (gradient) return [name, addUpdate(body, old, gradient, optimizer, rates)]
      return [name, { ema: addAverage(body, old.ema!, old.param!, optimizer) }]
    }),
  )
  return { finite, ok, norm, mse, cos, state: next }
}

/** NaN and infinities less themselves are NaN, which equals nothing. */
function isWhole(graph: GraphBuilder, value: Value): Value {
  return graph.op('Equal', [graph.op('Sub', [value, value]), graph.constant([0], [], 'float64')])
}

/** What every step gives. */
interface Scanned<T> {
  mse: T
  cos?: T
  norm: T
  updated: T
  scales?: T
}

interface LoopParts {
  /** Whether there is a next step. */
  again: Value
  carried: readonly Carried[]
  scanned: Scanned<Value>
}

/** Closes the body and adds the loop: names of its outputs. */
function addLoop(
  graph: GraphBuilder,
  body: GraphBuilder,
  steps: Value,
  { again, carried, scanned }: LoopParts,
): { carried: Map<Carried, string>; scanned: Scanned<string> } {
  const scans = Object.entries(scanned) as [string, Value][]
  for (const value of [again, ...carried.map(({ next }) => next!), ...scans.map(([, value]) => value)])
    body.expose(value)
  const types = [
    ...carried.map(({ first: { dtype, shape } }) => ({ dtype, shape })),
    ...scans.map(([, { dtype, shape }]) => ({ dtype, shape: ['done', ...shape] })),
  ]
  const inputs = [steps, undefined, ...carried.map(({ first }) => first)]
  const outputs = graph.ops('Loop', inputs, types.length, { body: { graph: body } }, '', undefined, types)
  const names = outputs.map((value) => graph.expose(value))
  return {
    carried: new Map(carried.map((one, i) => [one, names[i]!])),
    scanned: Object.fromEntries(
      scans.map(([name], i) => [name, names[carried.length + i]!]),
    ) as unknown as Scanned<string>,
  }
}
