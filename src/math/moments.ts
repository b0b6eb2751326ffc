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

/**
 * Channels at once. Sums of one channel are taken in the order of its values, for the same bits always; sums of
 * several do not wait for each other.
 */
const LANES = 4

/** Moments of many rows of [channels, size] values, taken row by row: they do not depend on how rows were batched. */
export interface MomentsTally {
  /** Adds the row of `data` that begins at `start`; halves are raw bits. */
  add(data: TensorData, start: number): void
  /** Null before the first row. */
  readonly moments: Moments | null
}

export function tallyMoments(channels: number, size: number): MomentsTally {
  const values = new Float64Array(LANES * size)
  const sums = new Float64Array(LANES)
  const squares = new Float64Array(LANES)
  const mean = new Float64Array(channels)
  const m2 = new Float64Array(channels)
  let count = 0
  return {
    add(data, start) {
      const total = count + size
      for (let c = 0; c < channels; c += LANES) {
        sumChannels(data, start, c, channels, values, sums)
        for (let lane = 0; lane < LANES; lane++) sums[lane] = sums[lane]! / size
        sumSquares(values, sums, squares)
        for (let lane = 0; lane < LANES && c + lane < channels; lane++) {
          // As `mergeMoments`, in place.
          const at = c + lane
          const delta = sums[lane]! - mean[at]!
          mean[at] = count === 0 ? sums[lane]! : mean[at]! + (delta * size) / total
          m2[at] = count === 0 ? squares[lane]! : m2[at]! + squares[lane]! + (delta * delta * count * size) / total
        }
      }
      count = total
    },
    get moments() {
      return count === 0 ? null : { count, mean: [...mean], m2: [...m2] }
    },
  }
}

/** Channels c to c + 3 → [size, 4] values, and their sums; beyond the last channel that one again. */
function sumChannels(
  data: TensorData,
  start: number,
  c: number,
  channels: number,
  values: Float64Array,
  sums: Float64Array,
): void {
  const size = values.length / LANES
  const p0 = start + c * size
  const p1 = start + Math.min(c + 1, channels - 1) * size
  const p2 = start + Math.min(c + 2, channels - 1) * size
  const p3 = start + Math.min(c + 3, channels - 1) * size
  let s0 = 0
  let s1 = 0
  let s2 = 0
  let s3 = 0
  if (data instanceof Uint16Array) {
    const halves = halfTable()
    for (let i = 0, to = 0; i < size; i++, to += LANES) {
      s0 += values[to] = halves[data[p0 + i]!]!
      s1 += values[to + 1] = halves[data[p1 + i]!]!
      s2 += values[to + 2] = halves[data[p2 + i]!]!
      s3 += values[to + 3] = halves[data[p3 + i]!]!
    }
  } else {
    for (let i = 0, to = 0; i < size; i++, to += LANES) {
      s0 += values[to] = data[p0 + i]!
      s1 += values[to + 1] = data[p1 + i]!
      s2 += values[to + 2] = data[p2 + i]!
      s3 += values[to + 3] = data[p3 + i]!
    }
  }
  sums[0] = s0
  sums[1] = s1
  sums[2] = s2
  sums[3] = s3
}

/** Sums of squared deviations of [size, 4] values from their means. */
function sumSquares(values: Float64Array, means: Float64Array, sums: Float64Array): void {
  const [m0, m1, m2, m3] = [means[0]!, means[1]!, means[2]!, means[3]!]
  let s0 = 0
  let s1 = 0
  let s2 = 0
  let s3 = 0
  for (let i = 0; i < values.length; i += LANES) {
    const d0 = values[i]! - m0
    const d1 = values[i + 1]! - m1
    const d2 = values[i + 2]! - m2
    const d3 = values[i + 3]! - m3
    s0 += d0 * d0
    s1 += d1 * d1
    s2 += d2 * d2
    s3 += d3 * d3
  }
  sums[0] = s0
  sums[1] = s1
  sums[2] = s2
  sums[3] = s3
}

/** Mean and unbiased standard deviation per channel, as the reference's latents_stats.pt has them. */
export function momentsToStats({ count, mean, m2 }: Moments): { mean: Float32Array; std: Float32Array } {
  return {
    mean: Float32Array.from(mean),
    std: Float32Array.from(m2.map((value) => Math.sqrt(value / (count - 1)))),
  }
}
