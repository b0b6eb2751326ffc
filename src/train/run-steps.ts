/** Several optimiser steps in one run of the engine, which takes the state and gives it back (run-graph.ts). */
import * as ort from '../engine/runtime.js'
import { joinFloats } from '../math/join-arrays.js'
import type { LossScale } from './loss-scale.js'
import type { RunGraph } from './run-graph.js'
import { batchFeeds, collectGarbage, floatTensor, neededFeeds, type WorkerParts } from './single-step.js'
import { hasState, STATE_KINDS, stateInput } from './state.js'
import type { RunReply, StepRates, StepResult, TrainBatch } from './step.js'

interface GivenSteps {
  batches: readonly TrainBatch[]
  plans: readonly Float32Array[]
  rates: readonly StepRates[]
}

/** The steps up to the first that is not finite, whose result is the last one. */
export async function runSteps(
  parts: WorkerParts,
  outputs: Omit<RunGraph, 'graph'>,
  given: GivenSteps,
): Promise<RunReply> {
  const { settings, state } = parts
  const started = performance.now()
  const results = await parts.session.run(neededFeeds(parts, feedsOf(parts, given)))
  const seconds = (performance.now() - started) / 1000
  const values = (name: string): Float32Array => results[name]!.data as Float32Array
  for (const { kind, name, output } of outputs.state) state.get(name)![kind] = values(output)
  const updated = results[outputs.updated]!.data as Uint8Array
  const norms = results[outputs.norm]!.data as Float64Array
  const rows = (name: string, i: number): Float32Array => {
    const all = values(name)
    const size = all.length / updated.length
    return all.slice(i * size, (i + 1) * size)
  }
  const scaleOf = (i: number): number | undefined =>
    outputs.scales === undefined ? settings.lossScale?.scale : values(outputs.scales)[i]
  const each = Array.from(updated, (ok, i): StepResult => {
    const mse = rows(outputs.mse, i)
    const cos = outputs.cos === undefined ? undefined : rows(outputs.cos, i)
    const whole = [...mse, ...(cos ?? [])].every(Number.isFinite)
    const lossScale = scaleOf(i)
    return {
      finite: ok === 1 || (whole && lossScale !== undefined),
      ...(ok !== 1 && whole && lossScale !== undefined && { skipped: true }),
      ...(lossScale !== undefined && { lossScale }),
      ...{ mse, ...(cos && { cos }), gradNorm: norms[i]! },
      seconds: { gradients: seconds / updated.length, optimizer: 0 },
    }
  })
  const lossScale: LossScale | undefined =
    outputs.scale === undefined
      ? settings.lossScale
      : {
          scale: values(outputs.scale)[0]!,
          good: Number((results[outputs.good!]!.data as BigInt64Array)[0]),
        }
  collectGarbage()
  return { results: each, ...(lossScale && { lossScale }) }
}

function feedsOf(parts: WorkerParts, { batches, plans, rates }: GivenSteps): Record<string, ort.Tensor> {
  const { settings, stateOf } = parts
  const { optimizer, lead, shapes, lossScale } = settings
  const steps = batches.length
  const join = (pick: (batch: TrainBatch) => Float32Array): Float32Array => joinFloats(batches.map(pick))
  const labels = new BigInt64Array(batches.flatMap((batch) => [...batch.labels]))
  const batch = { x1: join(({ x1 }) => x1), x0: join(({ x0 }) => x0), t: join(({ t }) => t), labels }
  const feeds = batchFeeds(parts, batch, joinFloats(plans), [steps, ...lead])
  for (const [name, shape] of shapes)
    for (const kind of STATE_KINDS)
      if (hasState(kind, name)) feeds[stateInput(kind, name)] = floatTensor(stateOf(kind, name), shape)
  const doubles = (values: number[]): ort.Tensor => new ort.Tensor('float64', Float64Array.from(values), [steps])
  const floats = (values: number[]): ort.Tensor => floatTensor(Float32Array.from(values), [steps])
  const int = (value: number): ort.Tensor => new ort.Tensor('int64', BigInt64Array.of(BigInt(value)), [])
  /** What the optimiser counts, if no step of the run is skipped. */
  const counts = rates.map((_, i) => rates[0]!.step + i)
  return {
    ...feeds,
    steps: int(steps),
    lr: doubles(rates.map(({ lr }) => lr)),
    keep: floats(rates.map(({ lr }) => 1 - lr * optimizer.weightDecay)),
    correction: doubles(counts.map((n) => 1 - optimizer.beta1 ** n)),
    root: floats(counts.map((n) => Math.sqrt(1 - optimizer.beta2 ** n))),
    scale: floatTensor(Float32Array.of(lossScale?.scale ?? 1), []),
    good: int(lossScale?.good ?? 0),
  }
}
