/**
 * Everything random about a training sample, as functions of (seed, stream, number of the sample): there is no
 * generator with a state, so that a run that is taken up again, or computed elsewhere, draws the same. Sample n is the
 * n-th of the whole training, counted from 0: of step s (from 1) and batch size b they are (s − 1)·b … s·b − 1.
 *
 * Order: epoch after epoch without a gap; each holds every row once, in an order of its own (permutation.ts). A batch
 * may begin in one epoch and end in the next, so that no row is dropped.
 * Distributions as the reference's: LightningDiT datasets/img_latent_dataset.py (flips), transport/transport.py
 * (sample, sample_logit_normal, check_interval), models/lightningdit.py (LabelEmbedder.token_drop).
 */

import { createPermutation, type Permutation } from './permutation.js'
import { normal, normals, STREAMS, uniforms } from './streams.js'
import type { Transport } from './transport.js'

export interface TimeLaw {
  /** t = sigmoid(mu + sigma·z); undefined: uniform. */
  lognorm?: { mu: number; sigma: number }
  interval: [number, number]
}

/** The times that are trained: all, but for the ends where a prediction is not stable. `eps` as train_eps of the YAML. */
export function timeInterval({ path, prediction }: Transport, eps?: number): [number, number] {
  if (path === 'VP') return [0, 1 - (eps ?? 1e-5)]
  if (prediction === 'velocity') return [0, 1]
  const cut = eps ?? 1e-3
  return [cut, 1 - cut]
}

const f32 = Math.fround

/** From a standard normal (or a uniform number, without `lognorm`) to a time. */
export function timeOf({ lognorm, interval: [t0, t1] }: TimeLaw, drawn: number): number {
  const t = lognorm ? f32(1 / (1 + Math.exp(-(lognorm.mu + lognorm.sigma * drawn)))) : f32(drawn)
  return f32(f32(t * f32(t1 - t0)) + f32(t0))
}

/** Of a uniform number: above a half the latents as they are, else those of the mirrored image. */
export const isFlipped = (u: number): boolean => !(u > 0.5)

/** Label of a sample whose drop is drawn with `u`: the null class below the probability, compared in float32. */
export const keptLabel = (label: number, u: number, probability: number, nullClass: number): number =>
  f32(u) < f32(probability) ? nullClass : label

export interface Draws {
  epoch(sample: number): number
  row(sample: number): number
  flipped(sample: number): boolean
  time(sample: number): number
  label(sample: number, label: number): number
  /** [C, H, W] */
  noise(sample: number, size: number): Float32Array
}

export interface DrawSettings {
  seed: number
  rows: number
  time: TimeLaw
  labelDropout: number
  nullClass: number
}

export function createDraws({ seed, rows, time, labelDropout, nullClass }: DrawSettings): Draws {
  let order: { epoch: number; permutation: Permutation } | undefined
  const epoch = (sample: number): number => Math.floor(sample / rows)
  const uniform = (stream: number, sample: number): number => uniforms(seed, stream, sample)[0]
  return {
    epoch,
    row(sample) {
      const wanted = epoch(sample)
      if (order?.epoch !== wanted) order = { epoch: wanted, permutation: createPermutation(rows, seed, wanted) }
      return order.permutation.at(sample % rows)
    },
    flipped: (sample) => isFlipped(uniform(STREAMS.flip, sample)),
    time(sample) {
      const stream = STREAMS.time
      return timeOf(time, time.lognorm ? normal(seed, stream, sample) : uniform(stream, sample))
    },
    label: (sample, label) => keptLabel(label, uniform(STREAMS.drop, sample), labelDropout, nullClass),
    noise: (sample, size) => normals(seed, STREAMS.noise, sample, size),
  }
}
