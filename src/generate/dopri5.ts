/**
 * Dormand-Prince 5(4) with step-size control, as torchdiffeq does it (rk_common.py, dopri5.py, misc.py,
 * interp.py): states in float32, times, tolerances and step sizes in float64, the last stages evaluated just
 * before the end of a step, the result interpolated at the end time by a quartic.
 *
 * In the reference the batch shares one step size, so a sample depends on its neighbours. Here a fixed group
 * of consecutive samples does (one by default): groups step on their own and only share evaluations of the
 * model, so the result does not depend on which groups run together. The error norm covers the
 * unconditional half of the state too, as in the reference.
 */

import { VtpError } from '../errors.js'
import { joinFloats } from '../math/join-arrays.js'
import type { DitModel } from './evaluate.js'
import type { SampleRequest, SamplerSettings } from './sample-request.js'

const f32 = Math.fround
const ORDER = 5
const SAFETY = 0.9
const GROW = 10
const SHRINK = 0.2
const MAX_STEPS = 10_000

const ALPHA = [1 / 5, 3 / 10, 4 / 5, 8 / 9, 1, 1].map(f32)
const BETA = [
  [1 / 5],
  [3 / 40, 9 / 40],
  [44 / 45, -56 / 15, 32 / 9],
  [19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729],
  [9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656],
  [35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84],
].map((row) => row.map(f32))
const ERROR = [
  35 / 384 - 1951 / 21600,
  0,
  500 / 1113 - 22642 / 50085,
  125 / 192 - 451 / 720,
  -2187 / 6784 + 12231 / 42400,
  11 / 84 - 649 / 6300,
  -1 / 60,
].map(f32)
const MID = [
  6025192743 / 30085553152 / 2,
  0,
  51252292925 / 65400821598 / 2,
  -2691868925 / 45128329728 / 2,
  187940372067 / 1594534317056 / 2,
  -1776094331 / 19743644256 / 2,
  11237099 / 235043384 / 2,
].map(f32)

/** The derivative of a group's state at one time. */
type Derivative = (t: number, y: Float32Array) => Promise<Float32Array>

/** Solves every group of the batch; undefined when stopped. Throws VtpError `sampler_failed`. */
export async function solveDopri5(
  model: DitModel,
  settings: SamplerSettings,
  { noise, labels, onPoint, onEvaluation, stop }: SampleRequest,
): Promise<Float32Array | undefined> {
  const size = model.shape.reduce((a, b) => a * b, 1)
  const starts = Array.from({ length: Math.ceil(labels.length / settings.group) }, (_, g) => g * settings.group)
  const batcher = createBatcher(model, starts.length, onEvaluation)
  const points = settings.grid.map(Number)
  const states = points.length > 0 && onPoint ? Array.from(points, () => new Float32Array(noise.length)) : []
  const result = new Float32Array(noise.length)
  const solve = async (start: number): Promise<void> => {
    const own = labels.slice(start, start + settings.group)
    const half = own.length * size
    const z = noise.subarray(start * size, start * size + half)
    const y0 = model.guidance ? joinFloats([z, z]) : z.slice()
    try {
      const derivative: Derivative = (t, y) => batcher.evaluate({ x: y.slice(0, half), labels: own, t })
      const onState = (index: number, y: Float32Array): void => states[index]?.set(y.subarray(0, half), start * size)
      const end = await integrate(derivative, y0, settings, stop, onState)
      if (end) result.set(end.subarray(0, half), start * size)
    } finally {
      batcher.leave()
    }
  }
  await Promise.all(starts.map(solve))
  if (stop?.aborted) return undefined
  states.forEach((state, index) => {
    if (index > 0) onPoint?.(index, state)
  })
  return result
}

/** Integrates over the grid and returns the state at its end. */
async function integrate(
  derivative: Derivative,
  y0: Float32Array,
  { grid, atol, rtol }: SamplerSettings,
  stop: AbortSignal | undefined,
  onState: (index: number, y: Float32Array) => void,
): Promise<Float32Array | undefined> {
  let f = await derivative(f32(grid[0]!), y0)
  let dt = await firstStep(derivative, grid[0]!, y0, f, rtol, atol)
  let y = y0
  let [from, to] = [grid[0]!, grid[0]!]
  let curve: (x: number) => Float32Array = () => y0
  let steps = 0
  let at = y0
  for (let point = 1; point < grid.length; point++) {
    const target = grid[point]!
    while (target > to) {
      if (stop?.aborted) return undefined
      if (++steps > MAX_STEPS) throw failed(`it has not reached the end after ${MAX_STEPS} steps`)
      if (!(to + dt > to)) throw failed(`its step size has shrunk to ${dt} at t = ${to}`)
      const step = await rungeKuttaStep(derivative, y, f, to, dt)
      const ratio = errorRatio(step.error, y, step.y, rtol, atol)
      if (Number.isNaN(ratio)) throw failed(`the model's output is not finite at t = ${to}`)
      from = to
      if (ratio <= 1) {
        curve = quartic(y, step, f32(dt))
        to = from + dt
        y = step.y
        f = step.k[6]!
      }
      dt = nextStepSize(dt, ratio)
    }
    at = curve(f32((target - from) / (to - from)))
    onState(point, at)
  }
  return at
}

function failed(why: string): VtpError {
  return new VtpError(`The dopri5 sampler failed: ${why}`, {
    code: 'sampler_failed',
    suggestions: ['loosen --rtol and --atol', 'use --sampler euler, whose number of steps is fixed'],
  })
}

interface Step {
  y: Float32Array
  /** Seven derivatives. */
  k: Float32Array[]
  error: Float32Array
}

/** y0 + Σ k_j · w_j. */
function combine(y0: Float32Array | undefined, k: Float32Array[], weights: number[], dt: number): Float32Array {
  const used = weights.map((w) => f32(w * dt))
  const out = new Float32Array(k[0]!.length)
  for (let i = 0; i < out.length; i++) {
    let sum = 0
    for (let j = 0; j < used.length; j++) sum += used[j]! * k[j]![i]!
    out[i] = y0 ? y0[i]! + f32(sum) : sum
  }
  return out
}

async function rungeKuttaStep(
  derivative: Derivative,
  y0: Float32Array,
  f0: Float32Array,
  t0: number,
  step: number,
): Promise<Step> {
  const dt = f32(step)
  const t1 = f32(t0 + step)
  const k = [f0]
  let y = y0
  for (let stage = 0; stage < ALPHA.length; stage++) {
    const alpha = ALPHA[stage]!
    y = combine(y0, k, BETA[stage]!, dt)
    k.push(await derivative(alpha === 1 ? justBefore(t1) : f32(f32(t0) + f32(alpha * dt)), y))
  }
  return { y, k, error: combine(undefined, k, ERROR, dt) }
}

const bits = new Int32Array(1)
const value = new Float32Array(bits.buffer)

/** The largest float32 below t > 0. */
function justBefore(t: number): number {
  value[0] = t
  bits[0]! -= 1
  return value[0]!
}

function rms(length: number, at: (i: number) => number): number {
  let sum = 0
  for (let i = 0; i < length; i++) sum += at(i) ** 2
  return Math.sqrt(sum / length)
}

function errorRatio(error: Float32Array, y0: Float32Array, y1: Float32Array, rtol: number, atol: number): number {
  return rms(error.length, (i) => error[i]! / (atol + rtol * Math.max(Math.abs(y0[i]!), Math.abs(y1[i]!))))
}

function nextStepSize(dt: number, ratio: number): number {
  if (ratio === 0) return dt * GROW
  const least = ratio < 1 ? 1 : SHRINK
  return dt * Math.min(GROW, Math.max(SAFETY / ratio ** (1 / ORDER), least))
}

/** Hairer, Nørsett, Wanner, Solving Ordinary Differential Equations I, II.4. */
async function firstStep(
  derivative: Derivative,
  t0: number,
  y0: Float32Array,
  f0: Float32Array,
  rtol: number,
  atol: number,
): Promise<number> {
  const scale = (i: number): number => atol + Math.abs(y0[i]!) * rtol
  const d0 = rms(y0.length, (i) => y0[i]! / scale(i))
  const d1 = rms(y0.length, (i) => f0[i]! / scale(i))
  const h0 = d0 < 1e-5 || d1 < 1e-5 ? 1e-6 : (0.01 * d0) / d1
  const h = f32(h0)
  const y1 = y0.map((v, i) => v + f32(h * f0[i]!))
  const f1 = await derivative(f32(t0 + h0), y1)
  const d2 = rms(y0.length, (i) => f32(f1[i]! - f0[i]!) / scale(i)) / h0
  const h1 = d1 <= 1e-15 && d2 <= 1e-15 ? Math.max(1e-6, h0 * 1e-3) : (0.01 / Math.max(d1, d2)) ** (1 / ORDER)
  return Math.min(100 * h0, h1)
}

/** The fourth-order curve through a step; x runs from 0 at its start to 1 at its end. */
function quartic(y0: Float32Array, { y: y1, k }: Step, dt: number): (x: number) => Float32Array {
  const middle = combine(y0, k, MID, dt)
  const [f0, f1] = [k[0]!, k[6]!]
  return (x) =>
    y0.map((y, i) => {
      const [b, m, df0, df1] = [y1[i]!, middle[i]!, dt * f0[i]!, dt * f1[i]!]
      const c4 = 2 * (df1 - df0) - 8 * (b + y) + 16 * m
      const c3 = 5 * df0 - 3 * df1 + 18 * y + 14 * b - 32 * m
      const c2 = df1 - 4 * df0 - 11 * y - 5 * b + 16 * m
      return y + x * (df0 + x * (c2 + x * (c3 + x * c4)))
    })
}

interface Evaluation {
  x: Float32Array
  labels: readonly number[]
  t: number
}

/** Waits until every running group has asked for an evaluation, then does them in one run. */
function createBatcher(model: DitModel, groups: number, onEvaluation: (() => void) | undefined) {
  let running = groups
  let waiting: { request: Evaluation; resolve(v: Float32Array): void; reject(error: unknown): void }[] = []
  const flush = async (): Promise<void> => {
    if (waiting.length === 0 || waiting.length < running) return
    const now = waiting
    waiting = []
    try {
      const x = joinFloats(now.map(({ request }) => request.x))
      const labels = now.flatMap(({ request }) => [...request.labels])
      const t = now.flatMap(({ request }) => request.labels.map(() => request.t))
      const names = model.guidance ? (['velocity', 'velocity_null'] as const) : (['velocity'] as const)
      const out = await model.evaluate({ x, labels, t }, [...names])
      onEvaluation?.()
      let at = 0
      for (const { request, resolve } of now) {
        const end = at + request.x.length
        resolve(joinFloats(names.map((name) => out[name]!.subarray(at, end))))
        at = end
      }
    } catch (error) {
      for (const { reject } of now) reject(error)
    }
  }
  return {
    evaluate: (request: Evaluation): Promise<Float32Array> =>
      new Promise((resolve, reject) => {
        waiting.push({ request, resolve, reject })
        void flush()
      }),
    /** A group has ended. */
    leave: (): void => {
      running--
      void flush()
    },
  }
}
