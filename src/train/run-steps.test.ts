/** Several steps in one run of the engine, and products in half precision. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import type { HalfOptions } from '../graph/half-products.js'
import { float16ToFloat32, float32ToFloat16 } from '../math/half.js'
import type { DitConfig } from '../model/lightningdit/config.js'
import { freshTensor } from './init.js'
import { hasState, STATE_KINDS, type StateKind, stateTensors } from './state.js'
import {
  OPTIMIZER_DEFAULTS,
  openTrainStep,
  type StepResult,
  type TrainBatch,
  type TrainSettings,
  type TrainStep,
} from './step.js'
import { normals } from './streams.js'

const cacheDir = mkdtempSync(path.join(tmpdir(), 'vtp steps '))
afterAll(() => rmSync(cacheDir, { recursive: true, force: true }))

const CONFIG: DitConfig = {
  ...{ inputSize: 4, patchSize: 1, inChannels: 4, hiddenSize: 32, depth: 2, numHeads: 2, mlpRatio: 4, numClasses: 3 },
  ...{ nullClass: true, learnSigma: false, qkNorm: true, swiglu: true, rope: true, rmsNorm: true, woShift: false },
}

const settingsOf = (more: Partial<TrainSettings> = {}): TrainSettings => ({
  ...{ config: CONFIG, microBatch: 2, microBatches: 2, cosineLoss: true, checkpointActivations: false },
  transport: { path: 'Linear', prediction: 'velocity', lossWeight: 'none' },
  optimizer: { ...OPTIMIZER_DEFAULTS, emaDecay: 0.9, weightDecay: 0.01, maxGradNorm: 1 },
  ...more,
})

const STEPS = 5
const SIZE = 64
const batches = Array.from(
  { length: STEPS },
  (_, i): TrainBatch => ({
    x1: normals(1, 0, i, 4 * SIZE),
    x0: normals(1, 1, i, 4 * SIZE),
    t: Float32Array.from([0.1, 0.35, 0.6, 0.9]),
    labels: BigInt64Array.from([0n, 1n, 2n, 3n]),
  }),
)
const rates = batches.map((_, i) => ({ step: i + 1, lr: 1e-3 * (i + 1) }))

const values = freshTensor(CONFIG, 7)
/** Not a fresh model, whose every prediction is 0. */
const initial = async (kind: StateKind, name: string): Promise<Float32Array> => {
  const start = values(name).map((value, i) => value + (name === 'pos_embed' ? 0 : 0.02 * Math.sin(i + name.length)))
  return kind === 'param' || kind === 'ema' ? start : start.fill(0)
}
const open = (settings: TrainSettings, scale?: { scale: number; good: number }): Promise<TrainStep> =>
  openTrainStep(settings, initial, { threads: 1, cacheDir }, scale)

async function stateOf(step: TrainStep): Promise<Record<string, Float32Array>> {
  const state: Record<string, Float32Array> = {}
  for (const name of stateTensors(CONFIG).keys())
    for (const kind of STATE_KINDS) if (hasState(kind, name)) state[`${kind} ${name}`] = await step.read(kind, name)
  return state
}

interface Outcome {
  results: StepResult[]
  state: Record<string, Float32Array>
}

/** All steps, as many at once as `sizes` say. */
async function runAll(step: TrainStep, sizes: number[]): Promise<Outcome> {
  const results: StepResult[] = []
  for (const size of sizes) {
    const at = results.length
    results.push(...(await step.runSteps(batches.slice(at, at + size), rates.slice(at, at + size))))
  }
  const state = await stateOf(step)
  await step.close()
  return { results, state }
}

const numbers = ({ results }: Outcome) => results.map(({ seconds: _, ...rest }) => rest)

const apart = (a: Float32Array, b: Float32Array): number => {
  const norm = (each: (i: number) => number): number => Math.sqrt(a.reduce((sum, _, i) => sum + each(i) ** 2, 0))
  return norm((i) => a[i]! - b[i]!) / norm((i) => b[i]!)
}

describe('steps in the engine', { timeout: 120_000 }, () => {
  it.each([
    ['micro-batches', {}],
    ['one batch, activations computed again', { microBatch: 4, microBatches: 1, checkpointActivations: true }],
    ['products of float16', { half: { type: 'float16', emulated: true }, inEngine: { lossScale: 'dynamic' } }],
  ] as [string, Partial<TrainSettings>][])(
    '%s: a run of several steps is as many runs of one, bit for bit',
    async (_, more) => {
      const settings = settingsOf({ inEngine: {}, ...more })
      const scale = { scale: 1024, good: 0 }
      const single = await runAll(await open(settings, scale), [1, 1, 1, 1, 1])
      expect(single.results.map(({ finite }) => finite)).toEqual(Array.from({ length: STEPS }, () => true))
      const many = await runAll(await open(settings, scale), [3, 2])
      expect(many.state).toEqual(single.state)
      expect(numbers(many)).toEqual(numbers(single))
    },
  )

  it('the state is, bit for bit, that of the optimiser outside of the engine', async () => {
    const outside = await runAll(await open(settingsOf()), [5])
    const inside = await runAll(await open(settingsOf({ inEngine: {} })), [5])
    expect(inside.state).toEqual(outside.state)
    expect(inside.results.map(({ mse }) => mse)).toEqual(outside.results.map(({ mse }) => mse))
    for (const [i, { gradNorm }] of inside.results.entries())
      expect(gradNorm / outside.results[i]!.gradNorm).toBeCloseTo(1, 12)
  })

  it('a step that is not finite ends the run; the steps before it count, and nothing of it does', async () => {
    const bad = { ...batches[2]!, x1: batches[2]!.x1.slice().fill(Number.NaN, 3 * SIZE, 3 * SIZE + 1) }
    const step = await open(settingsOf({ inEngine: {} }))
    const results = await step.runSteps([batches[0]!, batches[1]!, bad, batches[3]!], rates.slice(0, 4))
    expect(results.map(({ finite }) => finite)).toEqual([true, true, false])
    expect(Array.from(results[2]!.mse, Number.isFinite)).toEqual([true, true, true, false])
    const state = await stateOf(step)
    await step.close()
    expect(state).toEqual((await runAll(await open(settingsOf({ inEngine: {} })), [2])).state)
  })
})

describe('products in half precision', { timeout: 120_000 }, () => {
  /** How far a step's movement of all weights is from that in float32. */
  const HALVES: [string, HalfOptions, number][] = [
    ['float16, rounded around float32 products', { type: 'float16', emulated: true }, 0.02],
    ['float16, as a GPU multiplies it', { type: 'float16', emulated: false }, 0.02],
    ['bfloat16, rounded around float32 products', { type: 'bfloat16', emulated: true }, 0.1],
  ]

  it.each(HALVES)('%s: close to float32 after five steps', async (_, half, tolerance) => {
    const exact = await runAll(await open(settingsOf({ inEngine: {} })), [5])
    const inEngine = half.type === 'float16' ? { lossScale: 256 } : {}
    const halved = await runAll(await open(settingsOf({ half, inEngine })), [5])
    const name = 'param blocks.1.mlp.w3.weight'
    const start = await initial('param', 'blocks.1.mlp.w3.weight')
    const moved = (outcome: Outcome): Float32Array => outcome.state[name]!.map((value, i) => value - start[i]!)
    const off = apart(moved(halved), moved(exact))
    expect(off).toBeLessThan(tolerance)
    // The CPU has no float16 products: its engine takes the roundings before and behind its own ones away.
    if (half.emulated) expect(off).toBeGreaterThan(1e-5)
    else expect(off).toBe(0)
    for (const [i, { mse, gradNorm }] of halved.results.entries()) {
      expect(apart(mse, exact.results[i]!.mse)).toBeLessThan(tolerance)
      expect(gradNorm / exact.results[i]!.gradNorm - 1).toBeCloseTo(0, 1)
    }
    // The weights themselves are not rounded: a float16 has 11 bits.
    const kept = halved.state[name]!
    expect(kept.some((value) => value !== float16ToFloat32(float32ToFloat16(Float32Array.of(value)))[0])).toBe(true)
  })

  it('a dynamic scale is halved where gradients overflow, and the step is skipped and not counted', async () => {
    const settings = settingsOf({ half: { type: 'float16', emulated: true }, inEngine: { lossScale: 'dynamic' } })
    const step = await open(settings, { scale: 2 ** 24, good: 5 })
    const first = await step.runSteps(batches.slice(0, 1), rates.slice(0, 1))
    expect(first[0]).toMatchObject({ finite: true, skipped: true, lossScale: 2 ** 24 })
    expect(step.lossScale()).toEqual({ scale: 2 ** 23, good: 0 })
    expect(await step.read('param', 'blocks.0.attn.qkv.weight')).toEqual(
      await initial('param', 'blocks.0.attn.qkv.weight'),
    )
    await step.close()
    const { results } = await runAll(await open(settings, { scale: 2 ** 14, good: 0 }), [5])
    const skipped = results.filter((result) => result.skipped).length
    expect(skipped).toBeGreaterThan(0)
    expect(skipped).toBeLessThan(STEPS)
    for (const [i, { lossScale }] of results.slice(1).entries())
      expect(lossScale).toBe(results[i]!.lossScale! * (results[i]!.skipped ? 0.5 : 1))
  })

  it('a dynamic scale is doubled after 2,000 steps without an overflow; a static one stays', async () => {
    const half = { type: 'float16', emulated: true } as const
    const dynamic = await open(settingsOf({ half, inEngine: { lossScale: 'dynamic' } }), { scale: 64, good: 1998 })
    const results = await dynamic.runSteps(batches.slice(0, 3), rates.slice(0, 3))
    expect(results.map(({ lossScale }) => lossScale)).toEqual([64, 64, 128])
    expect(dynamic.lossScale()).toEqual({ scale: 128, good: 1 })
    await dynamic.close()
    const fixed = await open(settingsOf({ half, inEngine: { lossScale: 2 ** 24 } }))
    const again = await fixed.runSteps(batches.slice(0, 2), rates.slice(0, 2))
    expect(again.map(({ skipped, lossScale }) => [skipped, lossScale])).toEqual([1, 2].map(() => [true, 2 ** 24]))
    expect(fixed.lossScale()).toEqual({ scale: 2 ** 24, good: 0 })
    await fixed.close()
  })
})
