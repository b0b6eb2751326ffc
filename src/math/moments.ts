/**
 * Mean and spread per channel in float64, mergeable: the statistics of a dataset are merged from those of
 * its shards. Merging follows Chan, Golub, LeVeque (1983): no cancellation, any order of magnitude.
 */

import type { TensorData } from '../types.js'
import { halfTable } from './half.js'

export interface Moments {
  /** Values per channel. */
  count: number
  mean: number[]
  /** Sums of squared deviations from the mean. */
  m2: number[]
}

export function mergeMoments(a: Moments, b: Moments): Moments {
  if (a.count === 0) return b
  if (b.count === 0) return a
  const count = a.count + b.count
  const mean: number[] = []
  const m2: number[] = []
  for (let c = 0; c < a.mean.length; c++) {
    const delta = b.mean[c]! - a.mean[c]!
    mean.push(a.mean[c]! + (delta * b.count) / count)
    m2.push(a.m2[c]! + b.m2[c]! + (delta * delta * a.count * b.count) / count)
  }
  return { count, mean, m2 }
}

/** Moments of one row's latents: `data` holds [channels, size] values from `start` on; halves are raw bits. */
export function rowMoments(data: TensorData, start: number, channels: number, size: number): Moments {
  const halves = data instanceof Uint16Array ? halfTable() : undefined
  const mean: number[] = []
  const m2: number[] = []
  for (let c = 0; c < channels; c++) {
    const from = start + c * size
    let sum = 0
    for (let i = from; i < from + size; i++) sum += halves ? halves[data[i]!]! : data[i]!
    const average = sum / size
    let squares = 0
    for (let i = from; i < from + size; i++) {
      const deviation = (halves ? halves[data[i]!]! : data[i]!) - average
      squares += deviation * deviation
    }
    mean.push(average)
    m2.push(squares)
  }
  return { count: size, mean, m2 }
}

/** Mean and unbiased standard deviation per channel, as the reference's latents_stats.pt has them. */
export function momentsToStats({ count, mean, m2 }: Moments): { mean: Float32Array; std: Float32Array } {
  return {
    mean: Float32Array.from(mean),
    std: Float32Array.from(m2.map((value) => Math.sqrt(value / (count - 1)))),
  }
}
