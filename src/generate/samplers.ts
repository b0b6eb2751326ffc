/**
 * From noise to latents: Euler and Heun on the grid of times, one evaluation of the model per run of the
 * engine (Euler's update happens inside it). The adaptive solver is in dopri5.ts.
 * Reference: torchdiffeq fixed_grid.py (Euler, Heun2), as LightningDiT's transport calls them.
 */
import { solveDopri5 } from './dopri5.js'
import type { DitModel } from './evaluate.js'
import type { SampleRequest, SamplerSettings } from './sample-request.js'

/** Samples a batch. Undefined when `stop` was raised. Throws VtpErrors `sampler_failed`, `engine_run_failed`. */
export async function sample(
  model: DitModel,
  settings: SamplerSettings,
  request: SampleRequest,
): Promise<Float32Array | undefined> {
  if (settings.method === 'dopri5') return solveDopri5(model, settings, request)
  const { grid } = settings
  const { labels, stop } = request
  let x: Float32Array = request.noise.slice()
  for (let i = 0; i + 1 < grid.length; i++) {
    if (stop?.aborted) return undefined
    const t = grid[i]!
    const dt = Math.fround(grid[i + 1]! - t)
    x =
      settings.method === 'euler'
        ? await eulerStep(model, x, labels, t, dt, request)
        : await heunStep(model, x, labels, t, dt, request)
    request.onPoint?.(i + 1, x)
  }
  return x
}

async function eulerStep(
  model: DitModel,
  x: Float32Array,
  labels: readonly number[],
  t: number,
  dt: number,
  { onPoint, onEvaluation }: SampleRequest,
): Promise<Float32Array> {
  // `x` moves to the engine: whoever looks at the states gets a copy of theirs.
  const input = onPoint ? x.slice() : x
  const { next } = await model.evaluate({ x: input, labels, t: labels.map(() => t), dt: labels.map(() => dt) }, [
    'next',
  ])
  onEvaluation?.()
  return next!
}

/** x + dt · (k1 + k2) / 2 with k2 taken at the end of an Euler step. */
async function heunStep(
  model: DitModel,
  x: Float32Array,
  labels: readonly number[],
  t: number,
  dt: number,
  { onEvaluation }: SampleRequest,
): Promise<Float32Array> {
  const { velocity: first } = await model.evaluate({ x: x.slice(), labels, t: labels.map(() => t) }, ['velocity'])
  onEvaluation?.()
  const ahead = x.map((value, i) => value + Math.fround(dt * first![i]!))
  const end = Math.fround(t + dt)
  const { velocity: second } = await model.evaluate({ x: ahead, labels, t: labels.map(() => end) }, ['velocity'])
  onEvaluation?.()
  return x.map((value, i) => value + Math.fround(dt * Math.fround(0.5 * first![i]! + 0.5 * second![i]!)))
}
