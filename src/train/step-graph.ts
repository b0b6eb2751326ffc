/**
 * The gradients of one optimiser step as a graph: the forward pass, the losses and the backward pass, over
 * micro-batches that an ONNX `Loop` takes one after the other while it carries the sums of the gradients. One run is
 * one step, because the engine copies every output of a run. With equal micro-batches the sums are exactly those of
 * the reference's mean over the whole batch: each micro-batch's mean loss has the weight 1 / count. The size of the
 * micro-batch decides the order of summation, and so the last bits.
 */
import { GraphBuilder, type Value } from '../graph/builder.js'
import { addGradients } from '../graph/gradients/index.js'
import { type HalfOptions, halveProducts } from '../graph/half-products.js'
import { steadyProducts } from '../graph/steady-products.js'
import type { DitConfig } from '../model/lightningdit/config.js'
import { addDitForward } from '../model/lightningdit/training.js'
import { addLoss } from './loss-graph.js'
import { isFrozen, parameterInput, stateTensors } from './state.js'
import { PLAN_COLUMNS } from './transport.js'

export interface StepGraphSpec {
  config: DitConfig
  cosineLoss: boolean
  /** Samples of a micro-batch. */
  microBatch: number
  /** Micro-batches of a step. */
  microBatches: number
  checkpointActivations: boolean
  /** Half precision for products; default: float32 throughout. */
  half?: HalfOptions
}

export interface StepGraph {
  graph: GraphBuilder
  /** Names of the outputs by tensor, in the order of the state dict. */
  gradients: Map<string, string>
  /** Names of the outputs of losses per sample, [micro-batches, micro-batch] or [micro-batch]. */
  mse: string
  cos?: string
}

/** The tensors of a batch; micro-batches, where there are several, are the first axis. */
export interface BatchInputs {
  x1: Value
  x0: Value
  plan: Value
  t: Value
  labels: Value
}

/** What the gradients of a step are made from. */
export interface GradientInputs {
  /** By name in the state dict. */
  parameters: ReadonlyMap<string, Value>
  batch: BatchInputs
  /** 1, where activations are computed again. */
  unit?: Value
  /** 0, where there are several micro-batches. */
  zero?: Value
  /** What the loss is multiplied by; its gradients come out as many times as large. */
  lossScale?: Value
}

export interface StepGradients {
  /** In the order of `trainedTensors`. */
  gradients: Value[]
  mse: Value
  cos?: Value
}

/** Names of the tensors that are trained, in the order of the state dict. */
export const trainedTensors = (config: DitConfig): string[] =>
  [...stateTensors(config).keys()].filter((name) => !isFrozen(name))

/** Adds inputs for a batch; `lead` are the axes before the samples of a micro-batch. */
export function batchInputs(
  graph: GraphBuilder,
  { config, microBatch: size }: StepGraphSpec,
  lead: (number | string)[],
): BatchInputs {
  const float = (name: string, ...shape: number[]): Value =>
    graph.input({ name, dtype: 'float32', shape: [...lead, size, ...shape] })
  const latent = [config.inChannels, config.inputSize, config.inputSize]
  return {
    x1: float('x1', ...latent),
    x0: float('x0', ...latent),
    plan: float('plan', PLAN_COLUMNS),
    t: float('t'),
    labels: graph.input({ name: 'labels', dtype: 'int64', shape: [...lead, size] }),
  }
}

/** One element of every tensor of a batch, along its first axis. */
export function pickBatch(graph: GraphBuilder, { x1, x0, plan, t, labels }: BatchInputs, at: Value): BatchInputs {
  const pick = (value: Value): Value => graph.op('Gather', [value, at], { axis: 0 })
  return { x1: pick(x1), x0: pick(x0), plan: pick(plan), t: pick(t), labels: pick(labels) }
}

/** Builds the graph. Inputs: `w.NAME`; `x1`, `x0`, `plan`, `t`, `labels`; `unit` = 1 and `zero` = 0 where it has them. */
export function buildStepGraph(spec: StepGraphSpec): StepGraph {
  const { config, microBatches: count, checkpointActivations } = spec
  const graph = new GraphBuilder()
  const parameters = new Map<string, Value>()
  for (const [name, shape] of stateTensors(config))
    parameters.set(name, graph.input({ name: parameterInput(name), dtype: 'float32', shape }))
  const batch = batchInputs(graph, spec, count > 1 ? [count] : [])
  const scalar = (name: string): Value => graph.input({ name, dtype: 'float32', shape: [] })
  const unit = checkpointActivations ? scalar('unit') : undefined
  const zero = count > 1 ? scalar('zero') : undefined
  const { gradients, mse, cos } = addStepGradients(graph, spec, { parameters, batch, unit, zero })
  // The engine begins with what the last nodes need: late layers' gradients first, so that their values can go.
  if (count === 1) graph.moveToEnd(gradients)
  return {
    graph,
    gradients: new Map(trainedTensors(config).map((name, i) => [name, graph.expose(gradients[i]!)])),
    mse: graph.expose(mse),
    ...(cos && { cos: graph.expose(cos) }),
  }
}

/** Adds the gradients of the mean loss over all micro-batches, and the losses per sample. */
export function addStepGradients(graph: GraphBuilder, spec: StepGraphSpec, given: GradientInputs): StepGradients {
  return spec.microBatches === 1 ? addMicroBatch(graph, spec, given) : addMicroBatches(graph, spec, given)
}

function addMicroBatch(
  graph: GraphBuilder,
  { config, cosineLoss, microBatches, checkpointActivations, half }: StepGraphSpec,
  { parameters, batch, unit, lossScale }: GradientInputs,
): StepGradients {
  const { x1, x0, plan, t, labels } = batch
  const loss = addLoss(graph, { x1, x0, plan }, cosineLoss)
  const { prediction } = addDitForward(
    graph,
    config,
    (name) => parameters.get(name)!,
    { x: loss.noised, t, labels },
    { segments: checkpointActivations },
  )
  const { mse, cos, total } = loss.compare(prediction)
  const wrt = trainedTensors(config).map((name) => parameters.get(name)!)
  const share = 1 / microBatches
  const seed = lossScale ? graph.op('Mul', [lossScale, graph.scalar(share)]) : share
  const gradients = addGradients(graph, total, wrt, { seed, unit })
  steadyProducts(graph)
  if (half) halveProducts(graph, half)
  return { gradients, mse, cos }
}

function addMicroBatches(graph: GraphBuilder, spec: StepGraphSpec, given: GradientInputs): StepGradients {
  const { config, microBatch: size, microBatches: count } = spec
  const shapes = stateTensors(config)
  const trained = trainedTensors(config)
  const body = new GraphBuilder('micro.')
  const at = body.input({ name: 'micro.at', dtype: 'int64', shape: [] })
  const go = body.input({ name: 'micro.go', dtype: 'bool', shape: [] })
  const batch = pickBatch(body, given.batch, at)
  const sums = trained.map((name) =>
    body.input({ name: `micro.sum.${name}`, dtype: 'float32', shape: shapes.get(name)! }),
  )
  const { gradients, mse, cos } = addMicroBatch(body, spec, { ...given, batch })
  const losses = cos ? [mse, cos] : [mse]
  body.output(go, { name: 'micro.again', dtype: 'bool', shape: [] })
  for (const [i, sum] of sums.entries()) body.expose(body.op('Add', [sum, gradients[i]!]))
  for (const value of losses) body.expose(value)

  // From an input, so that no optimiser writes zeros of every tensor into the model.
  const zeros = trained.map((name) => graph.op('Expand', [given.zero, graph.ints(shapes.get(name)!)]))
  const types = [
    ...trained.map((name) => ({ dtype: 'float32' as const, shape: shapes.get(name)! })),
    ...losses.map(() => ({ dtype: 'float32' as const, shape: [count, size] })),
  ]
  const outputs = graph.ops(
    'Loop',
    [graph.constant([count], [], 'int64'), undefined, ...zeros],
    types.length,
    { body: { graph: body } },
    '',
    undefined,
    types,
  )
  return {
    gradients: outputs.slice(0, trained.length),
    mse: outputs[trained.length]!,
    cos: outputs[trained.length + 1],
  }
}
