/** Whole steps of training against runs of the official train.py (golden/train and golden/lightningdit/train). */
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { openTensorFile, type TensorFile } from '../../src/io/tensor-file.js'
import { isTensor, lookUp, openTorchFile, type TorchFile, type TorchValue } from '../../src/io/torch/file.js'
import type { DitConfig } from '../../src/model/lightningdit/config.js'
import { inferDitConfig } from '../../src/model/lightningdit/tensors.js'
import { averageFrozen, updateTensor } from '../../src/train/adamw.js'
import { hasState, isFrozen, type StateKind, stateTensors } from '../../src/train/state.js'
import {
  OPTIMIZER_DEFAULTS,
  openTrainStep,
  type TrainBatch,
  type TrainSettings,
  type TrainStep,
} from '../../src/train/step.js'
import { buildStepGraph } from '../../src/train/step-graph.js'
import { goldenPath } from '../golden.js'
import { tempDir } from '../support/cli.js'

type Read = (kind: StateKind, name: string) => Promise<Float32Array>

const norm = (values: Iterable<number>): number => {
  let sum = 0
  for (const value of values) sum += value * value
  return Math.sqrt(sum)
}
const difference = (a: Float32Array, b: Float32Array): Float32Array => a.map((value, i) => value - b[i]!)
const relative = (mine: Float32Array, theirs: Float32Array): number => {
  const size = norm(theirs)
  return norm(difference(mine, theirs)) / (size === 0 ? 1 : size)
}

async function batchOf(steps: TensorFile, prefixes: string[]): Promise<TrainBatch> {
  const floats = async (name: string): Promise<Float32Array> => {
    const parts = await Promise.all(prefixes.map((prefix) => steps.readFloat32(`${prefix}.${name}`)))
    return Float32Array.from(parts.flatMap((part) => [...part]))
  }
  const labels = await Promise.all(prefixes.map((prefix) => steps.readIntegers(`${prefix}.y_effective`)))
  return {
    x1: await floats('x1'),
    x0: await floats('x0'),
    t: await floats('t'),
    labels: BigInt64Array.from(labels.flat(), BigInt),
  }
}

function settingsOf(config: DitConfig, microBatch: number, microBatches: number, optimizer: object): TrainSettings {
  return {
    config,
    microBatch,
    microBatches,
    cosineLoss: true,
    checkpointActivations: false,
    transport: { path: 'Linear', prediction: 'velocity', lossWeight: 'none' },
    optimizer: { ...OPTIMIZER_DEFAULTS, ...optimizer },
  }
}

/** A state before the first step: moments are 0, the average is a copy. */
const fresh =
  (parameter: (name: string) => Promise<Float32Array>): Read =>
  async (kind, name) => {
    const values = (await parameter(name)).slice()
    return kind === 'exp_avg' || kind === 'exp_avg_sq' ? values.fill(0) : values
  }

/** Compares a state with the official one; parameters by how far they moved. */
async function compare(
  step: TrainStep,
  start: Read,
  official: Read,
  tolerance: { moved: number; moments: number },
): Promise<void> {
  for (const name of stateTensors(step.settings.config).keys()) {
    for (const kind of ['param', 'exp_avg', 'exp_avg_sq', 'ema'] as const) {
      if (!hasState(kind, name)) continue
      const [mine, theirs] = [await step.read(kind, name), await official(kind, name)]
      const what = `${kind} of ${name}`
      if (kind === 'param') {
        if (isFrozen(name)) expect(mine, what).toEqual(theirs)
        else {
          const from = await start('param', name)
          const moved = norm(difference(theirs, from))
          // Rows of labels that did not occur have not moved at all.
          expect(norm(difference(mine, theirs)), what).toBeLessThanOrEqual(tolerance.moved * moved)
        }
      } else if (kind === 'ema') {
        expect(Math.max(...difference(mine, theirs).map(Math.abs)), what).toBeLessThan(1e-6)
      } else expect(relative(mine, theirs), what).toBeLessThan(tolerance.moments)
    }
  }
}

interface RunOfSteps {
  name: string
  folder: string[]
  heads: number
  /** Prefixes of each step's batch. */
  prefixes: (i: number) => string[]
  microBatch: number
  microBatches: number
  steps: number
  lr: number
  optimizer: object
  tolerance: { moved: number; moments: number }
}

const CLIP = { folder: ['train', 'clip'], heads: 2, steps: 4, lr: 2e-4, tolerance: { moved: 4e-4, moments: 5e-6 } }
const JOINT = {
  folder: ['train', 'accumulate'],
  heads: 2,
  steps: 3,
  lr: 5e-4,
  tolerance: { moved: 1e-4, moments: 5e-6 },
}
const one = (i: number): string[] => [`step${i}`]
const ranks = (i: number): string[] => [`step${i}.rank0`, `step${i}.rank1`]

const RUNS: RunOfSteps[] = [
  { ...CLIP, name: 'clipping', prefixes: one, microBatch: 4, microBatches: 1, optimizer: { maxGradNorm: 2.25 } },
  {
    ...CLIP,
    name: 'clipping, in micro-batches',
    prefixes: one,
    microBatch: 2,
    microBatches: 2,
    optimizer: { maxGradNorm: 2.25 },
  },
  {
    ...JOINT,
    name: 'two processes as one batch',
    prefixes: ranks,
    microBatch: 6,
    microBatches: 1,
    optimizer: { maxGradNorm: 2 },
  },
  {
    ...JOINT,
    name: 'two processes as two micro-batches',
    prefixes: ranks,
    microBatch: 3,
    microBatches: 2,
    optimizer: { maxGradNorm: 2 },
  },
]

interface Expected {
  steps: { mse: number | number[]; norm?: number; norm_float64: number }[]
}

describe('steps of training', () => {
  it.each(RUNS)('$name: losses, norms and the whole state are the official ones', async (given) => {
    const golden = (...parts: string[]): string => goldenPath(...given.folder, ...parts)
    const [init, steps, after] = (await Promise.all(
      ['init', 'steps', 'after'].map((name) => openTensorFile(golden(`${name}.safetensors`))),
    )) as [TensorFile, TensorFile, TensorFile]
    const expected = JSON.parse(readFileSync(golden('expected.json'), 'utf8')) as Expected
    const config = inferDitConfig(init.shapes, 'init', given.heads)
    const start = fresh((name) => init.readFloat32(name))
    const settings = settingsOf(config, given.microBatch, given.microBatches, given.optimizer)
    const step = await openTrainStep(settings, start, { threads: 1, cacheDir: tempDir() })
    for (let i = 0; i < given.steps; i++) {
      const result = await step.run(await batchOf(steps, given.prefixes(i)), { step: i + 1, lr: given.lr })
      expect(result.finite).toBe(true)
      const mse = [expected.steps[i]!.mse].flat()
      const mean = (values: ArrayLike<number>): number => Array.from(values).reduce((a, b) => a + b, 0) / values.length
      expect(mean(result.mse) / mean(mse) - 1).toBeCloseTo(0, 5)
      expect(result.gradNorm / expected.steps[i]!.norm_float64 - 1).toBeCloseTo(0, 5)
      if (i === 0 || i === given.steps - 1)
        await compare(step, start, (kind, name) => after.readFloat32(`step${i}.${kind}.${name}`), given.tolerance)
    }
    await step.close()
    await Promise.all([init, steps, after].map((file) => file.close()))
  })

  it('a checkpoint of train.py goes on as if it had never stopped: parameters, moments and averages', async () => {
    const [from, to] = await Promise.all([
      openTorchFile(goldenPath('train', 'resume', '0000002.pt')),
      openTorchFile(goldenPath('train', 'resume', '0000005.pt')),
    ])
    const shapes = new Map(
      [...(lookUp(from.root, 'ema') as Map<TorchValue, TorchValue>)].flatMap(([name, value]) =>
        isTensor(value) ? [[String(name), value.shape] as const] : [],
      ),
    )
    const config = inferDitConfig(shapes, '0000002.pt', 2)
    const start = checkpointState(from, config)
    const steps = await openTensorFile(goldenPath('train', 'resume', 'steps.safetensors'))
    const settings = settingsOf(config, 4, 1, { beta2: 0.99, maxGradNorm: 1 })
    const step = await openTrainStep(settings, start, { threads: 2, cacheDir: tempDir() })
    for (let i = 2; i < 5; i++) await step.run(await batchOf(steps, [`step${i}`]), { step: i + 1, lr: 1e-3 })
    await compare(step, start, checkpointState(to, config), { moved: 1e-4, moments: 5e-6 })
    await step.close()
    await Promise.all([from.close(), to.close(), steps.close()])
  })

  it('without clipping, from the first step on: the state of the official loop after four steps', async () => {
    const folder = (name: string): string => goldenPath('lightningdit', 'train', name)
    const [init, steps] = await Promise.all([
      openTensorFile(folder('init.safetensors')),
      openTensorFile(folder('steps.safetensors')),
    ])
    const final = await openTorchFile(folder('0000004.pt'))
    const config = inferDitConfig(init.shapes, 'init', 2)
    const start = fresh((name) => init.readFloat32(name))
    const step = await openTrainStep(settingsOf(config, 3, 2, {}), start, { threads: 1, cacheDir: tempDir() })
    for (let i = 0; i < 4; i++) await step.run(await batchOf(steps, [`step${i}`]), { step: i + 1, lr: 2e-4 })
    await compare(step, start, checkpointState(final, config), { moved: 4e-4, moments: 5e-6 })
    await step.close()
    await Promise.all([init, steps, final].map((file) => file.close()))
  })

  it.each([
    ['threads', { threads: 2 }, {}],
    ['activation checkpointing', { threads: 1 }, { checkpointActivations: true }],
  ] as const)('%s changes no bit of the state', async (_, engine, change) => {
    const init = await openTensorFile(goldenPath('train', 'clip', 'init.safetensors'))
    const steps = await openTensorFile(goldenPath('train', 'clip', 'steps.safetensors'))
    const config = inferDitConfig(init.shapes, 'init', 2)
    const run = async (threads: number, other: object): Promise<Float32Array[]> => {
      const settings = { ...settingsOf(config, 2, 2, {}), ...other }
      const step = await openTrainStep(
        settings,
        fresh((name) => init.readFloat32(name)),
        { threads, cacheDir: tempDir() },
      )
      for (let i = 0; i < 2; i++) await step.run(await batchOf(steps, [`step${i}`]), { step: i + 1, lr: 1e-3 })
      const out: Float32Array[] = []
      for (const name of stateTensors(config).keys()) out.push(await step.read('param', name))
      await step.close()
      return out
    }
    expect(await run(engine.threads, change)).toEqual(await run(1, {}))
    await Promise.all([init.close(), steps.close()])
  })

  it('gradients of late layers are made first, and each block is computed again only behind the one after it', async () => {
    const init = await openTensorFile(goldenPath('train', 'resume', 'init.safetensors'))
    const config = inferDitConfig(init.shapes, 'init', 2)
    await init.close()
    const settings = { ...settingsOf(config, 4, 1, {}), checkpointActivations: true }
    const { graph, gradients } = buildStepGraph(settings)
    const made = new Map(graph.nodes.flatMap(({ outputs }, i) => outputs.map((value) => [value?.name, i] as const)))
    const places = [...gradients.values()].map((name) => made.get(name)!)
    // The engine starts from the last node; parameters are in the order of the model.
    expect(places).toEqual([...places].sort((a, b) => a - b))
    expect(graph.nodes.length - places[0]!).toBe(places.length)
    // Every copy waits for a gradient: the unit that its input is multiplied by is made of one.
    const waits = graph.nodes.filter(({ type, inputs }) => type === 'Min' && inputs[1]?.name === 'unit')
    expect(waits).toHaveLength(config.depth)
  })

  it('a loss that is not finite changes nothing, and the samples tell which ones', async () => {
    const init = await openTensorFile(goldenPath('train', 'clip', 'init.safetensors'))
    const steps = await openTensorFile(goldenPath('train', 'clip', 'steps.safetensors'))
    const config = inferDitConfig(init.shapes, 'init', 2)
    const start = fresh((name) => init.readFloat32(name))
    const step = await openTrainStep(settingsOf(config, 4, 1, {}), start, { threads: 1, cacheDir: tempDir() })
    const batch = await batchOf(steps, ['step0'])
    batch.x1[batch.x1.length - 1] = Number.NaN
    const result = await step.run(batch, { step: 1, lr: 1e-3 })
    expect(result.finite).toBe(false)
    expect(Array.from(result.mse, Number.isFinite)).toEqual([true, true, true, false])
    expect(await step.read('param', 'x_embedder.proj.weight')).toEqual(await start('param', 'x_embedder.proj.weight'))
    await step.close()
    await Promise.all([init.close(), steps.close()])
  })
})

describe('the moving average', () => {
  it.each([
    ['default_once', 0.9999, 1, 6.4e-7],
    ['default_200_times', 0.9999, 200, 1.7e-5],
    ['decay_0.99_once', 0.99, 1, 6.9e-7],
    ['decay_0_once', 0, 1, 3e-7],
  ] as const)(
    '%s is the official one, of trained and of frozen tensors',
    async (name, emaDecay, updates, tolerance) => {
      const golden = await openTensorFile(goldenPath('train', 'ema', 'ema.safetensors'))
      for (const part of ['weight', 'bias']) {
        const parameter = await golden.readFloat32(`in.param.${part}`)
        const [trained, frozen] = [
          await golden.readFloat32(`in.ema.${part}`),
          await golden.readFloat32(`in.ema.${part}`),
        ]
        for (let i = 0; i < updates; i++) {
          const moved = parameter.map((value) => value * (1 + i / 256))
          averageFrozen(frozen, moved, emaDecay)
          const zeros = (): Float32Array => new Float32Array(parameter.length)
          const tensor = { parameter: moved.slice(), expAvg: zeros(), expAvgSq: zeros(), ema: trained }
          updateTensor(tensor, zeros(), { ...OPTIMIZER_DEFAULTS, emaDecay }, { lr: 0, step: i + 1, gradientScale: 1 })
        }
        const theirs = await golden.readFloat32(`${name}.${part}`)
        for (const mine of [trained, frozen])
          expect(Math.max(...difference(mine, theirs).map(Math.abs)), part).toBeLessThan(tolerance)
      }
      await golden.close()
    },
  )
})

/** The state in a file of train.py: `opt` counts parameters in the order of `model`, whose names begin with `module.`. */
function checkpointState(file: TorchFile, config: DitConfig): Read {
  const model = lookUp(file.root, 'model') as Map<TorchValue, TorchValue>
  const stored = [...model.keys()].map(String)
  const known = stateTensors(config)
  const plain = (name: string): string => name.replace(/^(module\.)+/, '')
  const order = stored.map(plain).filter((name) => known.has(name))
  return async (kind, name) => {
    const at = order.indexOf(name)
    const value = {
      param: () => model.get(stored.find((key) => plain(key) === name)!),
      ema: () => lookUp(file.root, 'ema', name),
      exp_avg: () => lookUp(file.root, 'opt', 'state', at, 'exp_avg'),
      exp_avg_sq: () => lookUp(file.root, 'opt', 'state', at, 'exp_avg_sq'),
    }[kind]()
    if (!isTensor(value)) throw new Error(`no ${kind} of ${name}`)
    return file.readFloat32(value)
  }
}
