/** LightningDiT and its samplers: the official PyTorch code against our graphs, at the reference data's tolerances. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openSession, type Session } from '../../src/engine/session.js'
import { createDitModel, type Guidance } from '../../src/generate/evaluate.js'
import { denormalise, readLatentStats } from '../../src/generate/latent-stats.js'
import type { SamplerName } from '../../src/generate/sample-request.js'
import { sample } from '../../src/generate/samplers.js'
import { timeGrid } from '../../src/generate/schedule.js'
import { openTensorFile, type TensorFile } from '../../src/io/tensor-file.js'
import { decoderOf, openModel } from '../../src/model/index.js'
import { type DitCheckpoint, openDit } from '../../src/model/lightningdit/checkpoint.js'
import { compileDit } from '../../src/model/lightningdit/model.js'
import { ditRope } from '../../src/model/lightningdit/tables.js'
import { ditParameters } from '../../src/model/lightningdit/tensors.js'
import { goldenPath } from '../golden.js'

const cacheDir = mkdtempSync(path.join(tmpdir(), 'vtp-generate-'))
afterAll(() => rmSync(cacheDir, { recursive: true, force: true }))

const golden = (...parts: string[]): string => goldenPath('lightningdit', ...parts)
const readJson = <T>(...parts: string[]): T => JSON.parse(readFileSync(golden(...parts), 'utf8')) as T

function relativeError(actual: Float32Array, wanted: Float32Array): number {
  expect(actual.length).toBe(wanted.length)
  let [difference, norm] = [0, 0]
  for (let i = 0; i < wanted.length; i++) {
    difference += (actual[i]! - wanted[i]!) ** 2
    norm += wanted[i]! ** 2
  }
  return Math.sqrt(difference / norm)
}

const TOLERANCE = 1e-5
const VARIANTS = ['base', 'patch2_learnsigma', 'qknorm_ln_rope', 'qknorm_rms_swiglu_rope_woshift', 'vtp_style'] as const

interface Constructor {
  constructor: Record<string, number | boolean>
  params: number
}

describe.each(VARIANTS)('%s', (variant) => {
  let dit: DitCheckpoint
  let session: Session
  let cases: TensorFile
  const expected = readJson<Constructor>(variant, 'expected.json')

  beforeAll(async () => {
    dit = await openDit(golden(variant, 'model.safetensors'), {
      cacheDir,
      heads: expected.constructor.num_heads as number,
    })
    const graph = await compileDit(dit, { guidedChannels: 3, precision: 'fp32' }, cacheDir)
    session = await openSession({ path: graph.path, providers: ['cpu'], threads: 2 })
    cases = await openTensorFile(golden(variant, 'cases.safetensors'))
  })
  afterAll(async () => {
    await Promise.all([session.close(), cases.close(), dit.close()])
  })

  it('its options, sizes and number of parameters follow from the tensors', () => {
    const { config } = dit
    const wanted = expected.constructor
    expect(config).toMatchObject({
      inputSize: wanted.input_size,
      patchSize: wanted.patch_size,
      inChannels: wanted.in_channels,
      hiddenSize: wanted.hidden_size,
      depth: wanted.depth,
      numHeads: wanted.num_heads,
      numClasses: wanted.num_classes,
      qkNorm: wanted.use_qknorm ?? false,
      swiglu: wanted.use_swiglu ?? false,
      rope: wanted.use_rope ?? false,
      rmsNorm: wanted.use_rmsnorm ?? false,
      woShift: wanted.wo_shift ?? false,
      learnSigma: wanted.learn_sigma ?? false,
    })
    expect(ditParameters(config)).toBe(expected.params)
  })

  it('a forward pass agrees, each sample at its own time', async () => {
    const model = createDitModel(session, [16, 8, 8], undefined)
    const [x, t, labels] = [
      await cases.readFloat32('in.x'),
      await cases.readFloat32('in.t'),
      await cases.readIntegers('in.y'),
    ]
    const { velocity } = await model.evaluate({ x, labels, t: [...t] }, ['velocity'])
    expect(relativeError(velocity!, await cases.readFloat32('forward'))).toBeLessThan(TOLERANCE)
  })

  it('guidance agrees in both halves: at any scale, before, at and after the start of its interval', async () => {
    const keys = [...cases.shapes.keys()].filter((key) => key.startsWith('cfg_'))
    expect(keys.length).toBeGreaterThan(3)
    for (const key of keys) {
      const [, scale, time, off, start] = /^cfg_([\d.]+)_t([\d.]+?)(?:_interval_(False_)?start([\d.]+))?$/.exec(key)!
      const labels = (await cases.readIntegers('in.y_cfg')).slice(0, 2)
      const guidance: Guidance = {
        scale: Number(scale),
        intervalStart: off || !start ? 0 : Number(start),
        nullLabel: dit.config.numClasses,
      }
      const model = createDitModel(session, [16, 8, 8], guidance)
      const x = (await cases.readFloat32('in.x_cfg')).slice(0, 2 * 16 * 64)
      const t = [Number(time), Number(time)]
      const out = await model.evaluate({ x, labels, t }, ['velocity', 'velocity_null'])
      const both = Float32Array.from([...out.velocity!, ...out.velocity_null!])
      expect(relativeError(both, await cases.readFloat32(key)), key).toBeLessThan(TOLERANCE)
    }
  })

  it('int8 stays near, a row of the batch whatever the others are', async () => {
    const graph = await compileDit(dit, { guidedChannels: 3, precision: 'int8' }, cacheDir)
    const quantised = await openSession({ path: graph.path, providers: ['cpu'], threads: 2 })
    const model = createDitModel(quantised, [16, 8, 8], undefined)
    const [x, t, labels] = [
      await cases.readFloat32('in.x'),
      await cases.readFloat32('in.t'),
      await cases.readIntegers('in.y'),
    ]
    const alone = await model.evaluate({ x: x.slice(0, 1024), labels: labels.slice(0, 1), t: [t[0]!] }, ['velocity'])
    const { velocity } = await model.evaluate({ x, labels, t: [...t] }, ['velocity'])
    await quantised.close()
    const error = relativeError(velocity!, await cases.readFloat32('forward'))
    expect(error).toBeGreaterThan(TOLERANCE)
    expect(error).toBeLessThan(0.05)
    expect(velocity!.slice(0, 1024)).toEqual(alone.velocity)
  })

  it("RoPE's tables, where a checkpoint lacks them, are the official ones", async () => {
    if (!dit.config.rope) {
      expect(expected.constructor.use_rope ?? false).toBe(false)
      return
    }
    const { inputSize, patchSize, hiddenSize, numHeads } = dit.config
    const tables = ditRope(inputSize / patchSize, hiddenSize / numHeads)
    const official = await dit.readFloat32('feat_rope.freqs_cos')
    tables.cos.forEach((value, i) => {
      expect(Math.abs(value - official[2 * i]!)).toBeLessThan(1e-6)
    })
  })
})

interface Run {
  name: string
  method: SamplerName
  steps: number
  shift: number
  cfg: number
  interval: number
  model_evaluations: number
  model_times: number[]
  mid_index: number
  suggested_tolerance_rel_l2: number
}

describe('samplers', () => {
  const runs = Object.values(readJson<Record<string, Run>>('sampling.json'))
  let session: Session
  let tensors: TensorFile

  beforeAll(async () => {
    const dit = await openDit(golden('vtp_style', 'model.safetensors'), { cacheDir })
    const graph = await compileDit(dit, { guidedChannels: 3, precision: 'fp32' }, cacheDir)
    await dit.close()
    session = await openSession({ path: graph.path, providers: ['cpu'], threads: 2 })
    tensors = await openTensorFile(golden('sampling.safetensors'))
  })
  afterAll(async () => {
    await Promise.all([session.close(), tensors.close()])
  })

  it.each(runs)('$name: its trajectory, evaluations and end agree', async (run) => {
    const { name, method, cfg } = run
    const guidance = cfg > 1 ? { scale: cfg, intervalStart: run.interval, nullLabel: 1000 } : undefined
    const model = createDitModel(session, [16, 8, 8], guidance)
    const grid = timeGrid(run.steps, run.shift)
    if (method === 'euler') expect([...grid.subarray(0, -1)]).toEqual(run.model_times)
    const noise = await tensors.readFloat32(`${name}.z`)
    const labels = await tensors.readIntegers(`${name}.y`)
    const states = new Map<number, Float32Array>()
    let evaluations = 0
    const final = await sample(
      model,
      { method, grid, atol: 1e-6, rtol: 1e-3, group: labels.length },
      {
        noise,
        labels,
        onPoint: (index, x) => states.set(index, x),
        onEvaluation: () => {
          evaluations++
        },
      },
    )
    // "dopri5 accepts or rejects steps on its error estimate …: the number may differ by a few"
    expect(Math.abs(evaluations - run.model_evaluations)).toBeLessThanOrEqual(method === 'dopri5' ? 12 : 0)
    const tolerance = run.suggested_tolerance_rel_l2
    const check = async (key: string, actual: Float32Array): Promise<void> => {
      const wanted = (await tensors.readFloat32(`${name}.${key}`)).subarray(0, actual.length)
      expect(relativeError(actual, wanted), key).toBeLessThan(tolerance)
    }
    await check('trajectory_1', states.get(1)!)
    await check('trajectory_mid', states.get(run.mid_index)!)
    await check('final', final!)

    const stats = await readLatentStats(golden('extract'), 16)
    const latents = denormalise(final!, stats, 1, 64)
    await check('denormalised', latents)
    if (!tensors.shapes.has(`${name}.images_u8`)) return
    const vtp = await openModel(golden('gen_vtp'), { cacheDir })
    const graph = await decoderOf(vtp).compile({ height: 8, width: 8 })
    const decoder = await openSession({ path: graph.path, providers: ['cpu'], threads: 2 })
    const { outputs } = await decoder.run({ latents: { data: latents, dtype: 'float32', dims: [2, 16, 8, 8] } })
    await Promise.all([decoder.close(), vtp.close()])
    const images = await tensors.readIntegers(`${name}.images_u8`)
    let worst = 0
    images.forEach((value, i) => {
      worst = Math.max(worst, Math.abs(value - (outputs.pixels!.data[i] as number)))
    })
    expect(worst).toBeLessThanOrEqual(2)
  })

  it("Heun is torchdiffeq's heun2 as the official sampler runs it, guided, with a shifted grid", async () => {
    const model = createDitModel(session, [16, 8, 8], { scale: 2.5, intervalStart: 0.125, nullLabel: 1000 })
    const settings = { method: 'heun' as const, grid: timeGrid(7, 0.3), atol: 0, rtol: 0, group: 1 }
    const noise = await tensors.readFloat32('euler_shift03_cfg.z')
    const labels = await tensors.readIntegers('euler_shift03_cfg.y')
    const out = (await sample(model, settings, { noise, labels }))!
    // Made with the official code: model vtp_style, sampling_method heun2, 7 points; out[1,2,3,:4] and out[0,9,7,4:].
    const official = [1.537258, 2.480582, 0.953239, 0.64753, -0.044494, -1.070465, -2.686963, -0.29538]
    const [a, b] = [1024 + 2 * 64 + 3 * 8, 9 * 64 + 7 * 8 + 4]
    const ours = [...out.subarray(a, a + 4), ...out.subarray(b, b + 4)]
    official.forEach((value, i) => {
      expect(Math.abs(ours[i]! - value)).toBeLessThan(5e-6)
    })
  })

  it('Heun is of second order: halving the steps of Euler changes more', async () => {
    const model = createDitModel(session, [16, 8, 8], undefined)
    const noise = await tensors.readFloat32('dopri5_nocfg.z')
    const labels = await tensors.readIntegers('dopri5_nocfg.y')
    const exact = await tensors.readFloat32('dopri5_nocfg.final')
    const error = async (method: SamplerName, steps: number): Promise<number> => {
      const settings = { method, grid: timeGrid(steps, 0), atol: 0, rtol: 0, group: 1 }
      return relativeError((await sample(model, settings, { noise, labels }))!, exact)
    }
    const [euler, heun, finer] = [await error('euler', 17), await error('heun', 9), await error('heun', 17)]
    expect(heun).toBeLessThan(euler / 3) // for the same number of evaluations
    expect(finer).toBeLessThan(heun / 2.5)
  })
})

describe('checkpoints', () => {
  it("train.py's .pt gives its moving average, not the model that is being trained", async () => {
    const dit = await openDit(golden('train', '0000004.pt'), { cacheDir })
    const { openTorchFile, lookUp } = await import('../../src/io/torch/file.js')
    const file = await openTorchFile(golden('train', '0000004.pt'))
    const name = 'blocks.0.attn.qkv.weight'
    const read = (key: string) => file.readFloat32(lookUp(file.root, key, name) as never)
    const [ema, trained] = [await read('ema'), await read('model')]
    expect(ema).not.toEqual(trained)
    expect(await dit.readFloat32(name)).toEqual(ema)
    expect(dit.config).toMatchObject({ hiddenSize: 32, depth: 1, numClasses: 10, swiglu: true, rope: true })
    await Promise.all([dit.close(), file.close()])
  })
})
