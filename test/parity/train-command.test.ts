/** `vtp train` as it is run, against runs of the official train.py: states, losses and norms of every step. */
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { stringify } from 'yaml'
import { openTensorFile } from '../../src/io/tensor-file.js'
import { inferDitConfig } from '../../src/model/lightningdit/tensors.js'
import { openStart, type StartState } from '../../src/train/checkpoint.js'
import { hasState, isFrozen, STATE_KINDS, type StateKind, stateTensors } from '../../src/train/state.js'
import { goldenPath } from '../golden.js'
import { runCli, tempDir } from '../support/cli.js'

type Read = (kind: StateKind, name: string) => Promise<Float32Array>

const norm = (values: Float32Array): number => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0))
const difference = (a: Float32Array, b: Float32Array): Float32Array => a.map((value, i) => value - b[i]!)

interface Given {
  name: string
  folder: string[]
  init: string
  heads: number
  steps: number
  /** Steps whose state is given, and where. */
  states: [step: number, where: (folder: string) => Promise<{ read: Read; close(): Promise<void> }>][]
  tolerance: { moved: number; moments: number }
  config?: object
  more?: string[]
}

const fromAfter =
  (step: number) =>
  async (folder: string): Promise<{ read: Read; close(): Promise<void> }> => {
    const file = await openTensorFile(path.join(folder, 'after.safetensors'))
    return { read: (kind, name) => file.readFloat32(`step${step}.${kind}.${name}`), close: () => file.close() }
  }
const fromCheckpoint =
  (name: string) =>
  (folder: string): Promise<StartState> =>
    openStart(path.join(folder, name))

const GIVEN: Given[] = [
  {
    name: 'clipping',
    folder: ['train', 'clip'],
    init: 'init.safetensors',
    heads: 2,
    steps: 4,
    states: [
      [1, fromAfter(0)],
      [4, fromAfter(3)],
    ],
    tolerance: { moved: 4e-4, moments: 5e-6 },
  },
  {
    name: 'a batch of two processes',
    folder: ['train', 'accumulate'],
    init: 'init.safetensors',
    heads: 2,
    steps: 3,
    states: [[3, fromAfter(2)]],
    tolerance: { moved: 1e-4, moments: 5e-6 },
    more: ['--micro-batch', '3'],
  },
  {
    name: 'from a checkpoint, its optimiser included',
    folder: ['train', 'resume'],
    init: '0000002.pt',
    heads: 2,
    steps: 5,
    states: [[5, fromCheckpoint('0000005.pt')]],
    tolerance: { moved: 1e-4, moments: 5e-6 },
  },
  {
    name: 'a configuration of a few lines',
    folder: ['lightningdit', 'train'],
    init: 'init.safetensors',
    heads: 2,
    steps: 4,
    states: [[4, fromCheckpoint('0000004.pt')]],
    tolerance: { moved: 1e-4, moments: 5e-6 },
    config: { optimizer: { lr: 0.0002, beta2: 0.95 }, transport: { use_cosine_loss: true, use_lognorm: true } },
  },
]

describe('a training of given batches', { timeout: 120_000 }, () => {
  it.each(GIVEN)('$name: every step is the official one', async (given) => {
    const folder = goldenPath(...given.folder)
    const dir = tempDir()
    const expected = JSON.parse(readFileSync(path.join(folder, 'expected.json'), 'utf8')) as {
      config?: object
      steps: { mse?: number | number[]; mse_loss?: number; norm_float64?: number; norm?: number; grad_norm?: number }[]
    }
    const yaml = path.join(dir, 'train.yaml')
    writeFileSync(yaml, stringify(given.config ?? expected.config))
    const out = path.join(dir, 'out')
    const args = ['train', '--replay', path.join(folder, 'steps.safetensors'), '--init', path.join(folder, given.init)]
    const result = await runCli([
      ...args,
      ...['--dit-config', yaml, '--steps', String(given.steps), '--save-every', '1', '--out', out],
      ...(given.more ?? []),
    ])
    expect(result.stderr + result.code).toMatch(/0$/)
    const log = readFileSync(path.join(out, 'log.jsonl'), 'utf8').trim().split('\n')
    const start = await openStart(path.join(folder, given.init))
    expect(log.map((line) => (JSON.parse(line) as { step: number }).step)).toEqual(
      Array.from({ length: given.steps - start.step }, (_, i) => start.step + 1 + i),
    )
    for (const line of log) {
      const { step, mse, gradNorm } = JSON.parse(line) as { step: number; mse: number; gradNorm: number }
      const wanted = expected.steps[step - 1]!
      const parts = [wanted.mse ?? wanted.mse_loss!].flat()
      expect(mse / (parts.reduce((a, b) => a + b, 0) / parts.length) - 1).toBeCloseTo(0, 5)
      expect(gradNorm / (wanted.norm_float64 ?? wanted.norm ?? wanted.grad_norm!) - 1).toBeCloseTo(0, 5)
    }
    const config = inferDitConfig(start.shapes, given.init, given.heads)
    for (const [step, open] of given.states) {
      const mine = await openStart(path.join(out, 'checkpoints', `${String(step).padStart(7, '0')}.pt`))
      const theirs = await open(folder)
      expect(mine.step).toBe(step)
      for (const name of stateTensors(config).keys()) {
        for (const kind of STATE_KINDS.filter((each) => hasState(each, name))) {
          const [a, b] = [await mine.read(kind, name), await theirs.read(kind, name)]
          const apart = norm(difference(a, b))
          const what = `${kind} of ${name} after step ${step}`
          if (kind === 'ema') expect(Math.max(...difference(a, b).map(Math.abs)), what).toBeLessThan(1e-6)
          else if (kind !== 'param') expect(apart, what).toBeLessThanOrEqual(given.tolerance.moments * norm(b))
          else if (isFrozen(name)) expect(a, what).toEqual(b)
          else {
            const moved = norm(difference(b, await start.read('param', name)))
            expect(apart, what).toBeLessThanOrEqual(given.tolerance.moved * moved)
          }
        }
      }
      await Promise.all([mine.close(), theirs.close()])
    }
    await start.close()
  })
})
