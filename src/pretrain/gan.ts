/**
 * Steps of the decoder's GAN stage: the decoder is updated first, then the discriminator on the same reconstructions.
 * Adam for both, no decay, no schedule. The discriminator sees reconstructions, targets, and reconstructions
 * again, as the reference's two optimiser passes do: three updates of its running statistics.
 */
import * as ort from '../engine/runtime.js'
import type { VtpConfig } from '../model/vtp/config.js'
import type { TrainingModel } from '../model/vtp/training.js'
import { globalNorm, updateTensor } from '../train/adamw.js'
import { buildGanGraph, type GanGraph, type GanSettings } from './gan-graph.js'
import { assertFinite, fetchesInto, openTrainingSession } from './joint.js'
import { NORM_MOMENTUM, type PatchGanShape, patchGanNorms, patchGanShapes } from './patchgan.js'
import type { Shapes } from './state.js'

export interface GanHyperParameters extends GanSettings {
  lr: number
  /** Of Adam, for both networks. */
  betas: readonly [number, number]
  eps: number
  /** Steps before the discriminator counts. */
  disc_start: number
}

export interface GanInitial {
  config: VtpConfig
  rope: TrainingModel['rope']
  periods: Float32Array
  decoder: Shapes
  /** `pixel_decoder.…` and `main.…`, running statistics of the batch norms included. */
  read(name: string): Promise<Float32Array>
  /** Adam's moment of a trained tensor; undefined where there is none yet. */
  moment?(kind: 'exp_avg' | 'exp_avg_sq', name: string): Promise<Float32Array | undefined>
}

export interface GanBatch {
  /** [B, d, h, w] */
  latents: Float32Array
  /** uint8 [B, H, W, 3] */
  target: Uint8Array
}

/** A trained tensor with its moments. */
export interface GanTensor {
  name: string
  shape: readonly number[]
  parameter: Float32Array
  expAvg: Float32Array
  expAvgSq: Float32Array
  /** Of the last step. */
  gradient: Float32Array
}

export interface GanState {
  decoder: readonly GanTensor[]
  discriminator: readonly GanTensor[]
  /** `main.3.running_mean` and so on. */
  statistics: ReadonlyMap<string, Float32Array>
}

export type GanLog = { total: number } & Record<string, number>

export interface GanResult {
  log: GanLog
  image: Float32Array
  seconds: { gradients: number; optimizer: number }
}

export interface GanTrainer {
  readonly state: GanState
  /**
   * One step; `step` counts from 0. `image` are the reconstructions before it, [B, 3, H, W] in −1…1. Throws VtpError
   * `not_finite`, and the state is as it was.
   */
  step(batch: GanBatch, step: number): Promise<GanResult>
  close(): Promise<void>
}

export interface GanOptions {
  /** Shape of a batch, [B, d, h, w]. */
  latents: readonly [number, number, number, number]
  threads: number
  /** Weights of LPIPS by name, where it has a weight. */
  perceptual?: ReadonlyMap<string, Float32Array>
}

export async function openGanTrainer(
  initial: GanInitial,
  given: GanHyperParameters,
  { latents, threads, perceptual }: GanOptions,
): Promise<GanTrainer> {
  const built = buildGanGraph({ ...initial, settings: given, latents })
  const state = await loadState(initial, given)
  const { decoder, discriminator, statistics } = state
  const session = await openTrainingSession(built.graph, threads)
  const all = [...decoder, ...discriminator]
  const gradients = new Map([...built.decoderGradients, ...built.discriminatorGradients])
  const fetches = fetchesInto(
    session,
    all.map(({ name, shape, gradient }) => [gradients.get(name)!, shape, gradient]),
  )
  const scratch = new Float32Array(Math.max(...all.map((t) => t.parameter.length)))
  const { lr, betas, eps } = given
  const optimizer = { beta1: betas[0], beta2: betas[1], epsilon: eps, weightDecay: 0, emaDecay: 0 }

  return {
    state,
    async step({ latents: values, target }, step) {
      const began = performance.now()
      const isOn = step >= given.disc_start ? 1 : 0
      const feeds = feedsOf(built, { values, target, isOn, decoder, discriminator, perceptual, latents })
      const results = await session.run(feeds, fetches)
      const output = (name: string): Float32Array => results[name]!.data as Float32Array
      const logged = Object.fromEntries([...built.logged].map(([name, from]) => [name, output(from)[0]!]))
      const norm = (tensors: readonly GanTensor[]): number => globalNorm(tensors.map(({ gradient }) => gradient))
      const log = {
        ...logged,
        total: logged.total!,
        disc_factor: isOn,
        grad_norm: norm(decoder),
        d_grad_norm: norm(discriminator),
      }
      assertFinite(log, `Step ${step + 1}`, [
        'lower the learning rate (hyper_parameters.lr)',
        'nothing of this step was applied: the newest state of the run is good',
      ])
      const computed = performance.now()
      for (const tensor of all)
        updateTensor({ ...tensor, ema: scratch.subarray(0, tensor.parameter.length) }, tensor.gradient, optimizer, {
          ...{ lr, step: step + 1, gradientScale: 1 },
        })
      followStatistics(statistics, built, output)
      const seconds = { gradients: (computed - began) / 1000, optimizer: (performance.now() - computed) / 1000 }
      return { log, image: output(built.image), seconds }
    },
    close: () => session.release(),
  }
}

async function loadState(initial: GanInitial, disc: PatchGanShape): Promise<GanState> {
  const load = async (shapes: Shapes): Promise<GanTensor[]> => {
    const tensors: GanTensor[] = []
    for (const [name, shape] of shapes) {
      const parameter = (await initial.read(name)).slice()
      const zeros = (): Float32Array => new Float32Array(parameter.length)
      const moment = async (kind: 'exp_avg' | 'exp_avg_sq'): Promise<Float32Array> =>
        (await initial.moment?.(kind, name)) ?? zeros()
      const moments = { expAvg: await moment('exp_avg'), expAvgSq: await moment('exp_avg_sq') }
      tensors.push({ name, shape, parameter, ...moments, gradient: zeros() })
    }
    return tensors
  }
  const statistics = new Map<string, Float32Array>()
  for (const name of patchGanNorms(disc).keys())
    for (const part of ['running_mean', 'running_var'])
      statistics.set(`${name}.${part}`, (await initial.read(`${name}.${part}`)).slice())
  return { decoder: await load(initial.decoder), discriminator: await load(patchGanShapes(disc)), statistics }
}

interface Fed {
  values: Float32Array
  target: Uint8Array
  isOn: number
  decoder: readonly GanTensor[]
  discriminator: readonly GanTensor[]
  perceptual?: ReadonlyMap<string, Float32Array>
  latents: readonly number[]
}

function feedsOf(built: GanGraph, fed: Fed): Record<string, ort.Tensor> {
  const float = (data: Float32Array, dims: readonly number[]): ort.Tensor => new ort.Tensor('float32', data, dims)
  const [batch, , h, w] = fed.latents as [number, number, number, number]
  const all = new Map<string, ort.Tensor>([
    ['latents', float(fed.values, fed.latents)],
    ['target_u8', new ort.Tensor('uint8', fed.target, [batch, 16 * h, 16 * w, 3])],
    ['disc_factor', float(Float32Array.of(fed.isOn), [])],
    ...fed.decoder.map(({ name, shape, parameter }) => [`w.${name}`, float(parameter, shape)] as const),
    ...fed.discriminator.map(({ name, shape, parameter }) => [`d.${name}`, float(parameter, shape)] as const),
  ])
  const inputs = built.graph.inputs.map(({ name, shape }) => {
    const values = name.startsWith('v.') ? fed.perceptual?.get(name.slice(2)) : undefined
    return [name, values ? float(values, shape as number[]) : all.get(name)!] as const
  })
  return Object.fromEntries(inputs)
}

/** Running statistics after the three passes of a step; the variance is that of a sample, as PyTorch keeps it. */
function followStatistics(
  statistics: ReadonlyMap<string, Float32Array>,
  built: GanGraph,
  output: (name: string) => Float32Array,
): void {
  for (const pass of ['fake', 'real', 'fake'] as const) {
    for (const [name, { mean, variance, count }] of built.statistics[pass]) {
      const follow = (running: Float32Array, seen: Float32Array, scale: number): void =>
        running.forEach((value, i) => {
          running[i] = (1 - NORM_MOMENTUM) * value + NORM_MOMENTUM * scale * seen[i]!
        })
      follow(statistics.get(`${name}.running_mean`)!, output(mean), 1)
      follow(statistics.get(`${name}.running_var`)!, output(variance), count / (count - 1))
    }
  }
}
