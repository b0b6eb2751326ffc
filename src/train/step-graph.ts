/**
 * The gradients of one optimiser step as a graph: the forward pass, the losses and the backward pass, over
 * micro-batches that an ONNX `Loop` takes one after the other while it carries the sums of the gradients. One run is
 * one step, because the engine copies every output of a run. With equal micro-batches the sums are exactly those of
 * the reference's mean over the whole batch: each micro-batch's mean loss has the weight 1 / count. The size of the
 * micro-batch decides the order of summation, and so the last bits.
 */
import { GraphBuilder, type Value } from '../graph/builder.js'
import { addGradients } from '../graph/gradients/index.js'
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
}

export interface StepGraph {
  graph: GraphBuilder
  /** Names of the outputs by tensor, in the order of the state dict. */
  gradients: Map<string, string>
  /** Names of the outputs of losses per sample, [micro-batches, micro-batch] or [micro-batch]. */
  mse: string
  cos?: string
}

interface MicroInputs {
  x1: Value
  x0: Value
  plan: Value
  t: Value
  labels: Value
}

/** Builds the graph. Inputs: `w.NAME`; `x1`, `x0`, `plan`, `t`, `labels`; `unit` = 1 and `zero` = 0 where it has them. */
export function buildStepGraph(spec: StepGraphSpec): StepGraph {
  const { config, microBatch: size, microBatches: count, checkpointActivations } = spec
  const graph = new GraphBuilder()
  const shapes = stateTensors(config)
  const parameters = new Map<string, Value>()
  for (const [name, shape] of shapes)
    parameters.set(name, graph.input({ name: parameterInput(name), dtype: 'float32', shape }))
  const lead = count > 1 ? [count] : []
  const latent = [size, config.inChannels, config.inputSize, config.inputSize]
  const float = (name: string, ...shape: number[]): Value =>
    graph.input({ name, dtype: 'float32', shape: [...lead, ...shape] })
  const inputs: MicroInputs = {
    x1: float('x1', ...latent),
    x0: float('x0', ...latent),
    plan: float('plan', size, PLAN_COLUMNS),
    t: float('t', size),
    labels: graph.input({ name: 'labels', dtype: 'int64', shape: [...lead, size] }),
  }
  const scalar = (name: string): Value => graph.input({ name, dtype: 'float32', shape: [] })
  const unit = checkpointActivations ? scalar('unit') : undefined
  const trained = [...shapes.keys()].filter((name) => !isFrozen(name))

  const micro = (where: GraphBuilder, { x1, x0, plan, t, labels }: MicroInputs) => {
    const loss = addLoss(where, { x1, x0, plan }, spec.cosineLoss)
    const { prediction } = addDitForward(
      where,
      config,
      (name) => parameters.get(name)!,
      { x: loss.noised, t, labels },
      { segments: checkpointActivations },
    )
    const losses = loss.compare(prediction)
    const wrt = trained.map((name) => parameters.get(name)!)
    return { losses, gradients: addGradients(where, losses.total, wrt, { seed: 1 / count, unit }) }
  }

  if (count === 1) {
    const { losses, gradients } = micro(graph, inputs)
    // The engine begins with what the last nodes need: late layers' gradients first, so that their values can go.
    graph.moveToEnd(gradients)
    return {
      graph,
      gradients: new Map(trained.map((name, i) => [name, graph.expose(gradients[i]!)])),
      mse: graph.expose(losses.mse),
      ...(losses.cos && { cos: graph.expose(losses.cos) }),
    }
  }

  const body = new GraphBuilder('micro.')
  const at = body.input({ name: 'micro.at', dtype: 'int64', shape: [] })
  const go = body.input({ name: 'micro.go', dtype: 'bool', shape: [] })
  const pick = (value: Value): Value => body.op('Gather', [value, at], { axis: 0 })
  const sums = trained.map((name) =>
    body.input({ name: `micro.sum.${name}`, dtype: 'float32', shape: shapes.get(name)! }),
  )
  const { losses, gradients } = micro(body, {
    x1: pick(inputs.x1),
    x0: pick(inputs.x0),
    plan: pick(inputs.plan),
    t: pick(inputs.t),
    labels: pick(inputs.labels),
  })
  body.output(go, { name: 'micro.again', dtype: 'bool', shape: [] })
  for (const [i, sum] of sums.entries()) body.expose(body.op('Add', [sum, gradients[i]!]))
  const scanned = [losses.mse, ...(losses.cos ? [losses.cos] : [])]
  for (const value of scanned) body.expose(value)

  // From an input, so that no optimiser writes zeros of every tensor into the model.
  const zero = scalar('zero')
  const zeros = trained.map((name) => graph.op('Expand', [zero, graph.ints(shapes.get(name)!)]))
  const types = [
    ...trained.map((name) => ({ dtype: 'float32' as const, shape: shapes.get(name)! })),
    ...scanned.map(() => ({ dtype: 'float32' as const, shape: [count, size] })),
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
  const names = outputs.map((value) => graph.expose(value))
  return {
    graph,
    gradients: new Map(trained.map((name, i) => [name, names[i]!])),
    mse: names[trained.length]!,
    ...(losses.cos && { cos: names[trained.length + 1]! }),
  }
}
