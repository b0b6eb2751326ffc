/** Losses and gradients of training against the official LightningDiT's (golden/train/grads; see its README). */
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import * as ort from '../../src/engine/runtime.js'
import { GraphBuilder, type Value } from '../../src/graph/builder.js'
import { addGradients } from '../../src/graph/gradients/index.js'
import { openSafetensors } from '../../src/io/safetensors.js'
import { openDit } from '../../src/model/lightningdit/checkpoint.js'
import { expectedDitTensors, isBuffer } from '../../src/model/lightningdit/tensors.js'
import { addDitForward } from '../../src/model/lightningdit/training.js'
import { addLoss } from '../../src/train/loss-graph.js'
import { planSamples, type Transport } from '../../src/train/transport.js'
import { goldenPath } from '../golden.js'
import { tempDir } from '../support/cli.js'

const VELOCITY: Transport = { path: 'Linear', prediction: 'velocity', lossWeight: 'none' }

type Feeds = Record<string, ort.Tensor>

async function run(
  graph: GraphBuilder,
  outputs: Record<string, Value>,
  feeds: Feeds,
): Promise<Record<string, Float32Array>> {
  for (const [name, value] of Object.entries(outputs))
    graph.output(value, { name, dtype: 'float32', shape: [...value.shape] })
  const session = await ort.InferenceSession.create(graph.encode(''), { intraOpNumThreads: 1, logSeverityLevel: 3 })
  const results = await session.run(Object.fromEntries(graph.inputs.map(({ name }) => [name, feeds[name]!])))
  await session.release()
  return Object.fromEntries(Object.keys(outputs).map((name) => [name, results[name]!.data as Float32Array]))
}

function relative(mine: Float32Array, theirs: Float32Array): number {
  let [difference, size] = [0, 0]
  theirs.forEach((value, i) => {
    difference += (mine[i]! - value) ** 2
    size += value ** 2
  })
  return size === 0 ? Math.sqrt(difference) : Math.sqrt(difference / size)
}

async function integers(file: Awaited<ReturnType<typeof openSafetensors>>, name: string): Promise<BigInt64Array> {
  const bytes = await file.readBytes(name)
  return new BigInt64Array(bytes.slice().buffer)
}

const VARIANTS = ['base', 'patch2_learnsigma', 'qknorm_ln_rope', 'qknorm_rms_swiglu_rope_woshift', 'vtp_style']

interface Golden {
  constructor: { num_heads: number }
  losses: Record<'mse' | 'cos' | 'total', { float64: number }>
  global_norm: { float64: number }
  parameters: Record<string, { tolerance_rel_l2: number }>
}

describe('the gradients of LightningDiT', () => {
  it.each(VARIANTS.flatMap((variant) => [[variant, 'kept'] as const, [variant, 'computed again'] as const]))(
    '%s, with values %s, are the official ones',
    async (variant, mode) => {
      const folder = goldenPath('train', 'grads', variant)
      const expected = JSON.parse(readFileSync(`${folder}/expected.json`, 'utf8')) as Golden
      const dit = await openDit(goldenPath('lightningdit', variant, 'model.safetensors'), {
        cacheDir: tempDir(),
        heads: expected.constructor.num_heads,
      })
      const batch = await openSafetensors(`${folder}/batch.safetensors`)
      const graph = new GraphBuilder()
      const feeds: Feeds = { unit: new ort.Tensor('float32', Float32Array.of(1), []) }
      const parameters = new Map<string, Value>()
      for (const [name, shape] of expectedDitTensors(dit.config)) {
        if (isBuffer(name)) continue
        parameters.set(name, graph.input({ name, dtype: 'float32', shape }))
        feeds[name] = new ort.Tensor('float32', await dit.readFloat32(name), shape)
      }
      const { inChannels, inputSize } = dit.config
      const times = await batch.readFloat32('in.t')
      const latent = [times.length, inChannels, inputSize, inputSize]
      const input = (
        name: string,
        dtype: 'float32' | 'int64',
        shape: number[],
        data: Float32Array | BigInt64Array,
      ): Value => {
        feeds[name] = new ort.Tensor(dtype as 'float32', data as Float32Array, shape)
        return graph.input({ name, dtype, shape })
      }
      const x1 = input('x1', 'float32', latent, await batch.readFloat32('in.x1'))
      const x0 = input('x0', 'float32', latent, await batch.readFloat32('in.x0'))
      const t = input('t', 'float32', [times.length], times)
      const labels = input('labels', 'int64', [times.length], await integers(batch, 'in.y_effective'))
      const plan = input('plan', 'float32', [times.length, 6], planSamples(VELOCITY, times))
      const loss = addLoss(graph, { x1, x0, plan }, true)
      const forward = addDitForward(
        graph,
        dit.config,
        (name) => parameters.get(name)!,
        { x: loss.noised, t, labels },
        {
          segments: mode === 'computed again',
        },
      )
      const { mse, cos, total } = loss.compare(forward.prediction)
      const trained = [...parameters.keys()].filter((name) => name !== 'pos_embed')
      const unit = mode === 'computed again' ? graph.input({ name: 'unit', dtype: 'float32', shape: [] }) : undefined
      const wrt = [...trained.map((name) => parameters.get(name)!), forward.prediction, forward.conditioning]
      const gradients = addGradients(graph, total, wrt, { unit })
      const named = new Map(
        [...trained, 'grad_of.pred', 'grad_of.conditioning'].map((name, i) => [name, gradients[i]!]),
      )
      const outputs: Record<string, Value> = { mse, cos: cos!, total, prediction: forward.prediction }
      for (const [name, value] of named) outputs[`d.${name}`] = value
      const results = await run(graph, outputs, feeds)

      expect(relative(results.prediction!, await batch.readFloat32('pred'))).toBeLessThan(1e-5)
      expect(relative(results.mse!, await batch.readFloat32('loss'))).toBeLessThan(2e-6)
      expect(relative(results.cos!, await batch.readFloat32('cos_loss'))).toBeLessThan(2e-6)
      expect(results.total![0]! / expected.losses.total.float64 - 1).toBeCloseTo(0, 5)
      for (const name of ['grad_of.pred', 'grad_of.conditioning'])
        expect(relative(results[`d.${name}`]!, await batch.readFloat32(name)), name).toBeLessThan(1e-5)
      const golden = await openSafetensors(`${folder}/grads.safetensors`)
      let squares = 0
      for (const name of trained) {
        const mine = results[`d.${name}`]!
        squares += mine.reduce((sum, x) => sum + x * x, 0)
        const theirs = await golden.readFloat32([...golden.tensors.keys()].find((key) => key.endsWith(name))!)
        expect(relative(mine, theirs), name).toBeLessThan(expected.parameters[name]!.tolerance_rel_l2)
      }
      expect(Math.sqrt(squares) / expected.global_norm.float64 - 1).toBeCloseTo(0, 5)
      await Promise.all([golden.close(), batch.close(), dit.close()])
    },
  )

  it('losses of every path, prediction and weighting, and their gradients, are the official ones', async () => {
    const golden = await openSafetensors(goldenPath('train', 'grads', 'transport.safetensors'))
    const cases = [...golden.tensors.keys()].filter((name) => name.endsWith('.grad')).map((name) => name.slice(0, -5))
    expect(cases.length).toBeGreaterThan(10)
    const shape = golden.tensors.get('in.pred')!.shape
    const times = await golden.readFloat32('in.t')
    for (const name of cases) {
      const [path, prediction, weight] = name.split('.') as [Transport['path'], Transport['prediction'], string]
      const lossWeight = weight === 'None' ? 'none' : (weight as Transport['lossWeight'])
      const graph = new GraphBuilder()
      const feeds: Feeds = {}
      const values: Record<string, Value> = {}
      for (const key of ['pred', 'x1', 'x0']) {
        values[key] = graph.input({ name: key, dtype: 'float32', shape })
        feeds[key] = new ort.Tensor('float32', await golden.readFloat32(`in.${key}`), shape)
      }
      const plan = graph.input({ name: 'plan', dtype: 'float32', shape: [times.length, 6] })
      feeds.plan = new ort.Tensor('float32', planSamples({ path, prediction, lossWeight }, times), [times.length, 6])
      const loss = addLoss(graph, { x1: values.x1!, x0: values.x0!, plan }, prediction === 'velocity')
      const { mse, cos, total } = loss.compare(values.pred!)
      const [grad] = addGradients(graph, total, [values.pred!])
      const results = await run(graph, { mse, grad: grad!, ...(cos && { cos }) }, feeds)
      expect(relative(results.mse!, await golden.readFloat32(`${name}.loss`)), name).toBeLessThan(1e-5)
      expect(relative(results.grad!, await golden.readFloat32(`${name}.grad`)), name).toBeLessThan(1e-5)
      if (cos) expect(relative(results.cos!, await golden.readFloat32(`${name}.cos_loss`)), name).toBeLessThan(1e-5)
    }
    await golden.close()
  })
})
