/**
 * Mean and spread per channel in float64, mergeable: the statistics of a dataset are merged from those of
 * its shards. Merging follows Chan, Golub, LeVeque (1983): no cancellation, any order of magnitude.
 */

import type { TensorData } from '../types.js'
import { ensureMemory, onceWasm, type WasmMemory } from '../wasm.js'
import { halfTable } from './half.js'
import { MOMENTS_WASM } from './moments-bytes.js'

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

/** Moments of many rows of [channels, size] values, taken row by row: they do not depend on how rows were batched. */
export interface MomentsTally {
  /** Adds the row of `data` that begins at `start`; halves are raw bits. */
  add(data: TensorData, start: number): void
  /** Null before the first row. */
  readonly moments: Moments | null
}

/** Means and sums of squared deviations of each channel of one row. */
type RowMoments = (data: TensorData, start: number) => { means: Float64Array; squares: Float64Array }

/** The same bits with and without WebAssembly: sums of a channel are taken in the order of its values. */
export function tallyMoments(channels: number, size: number): MomentsTally {
  const mean = new Float64Array(channels)
  const m2 = new Float64Array(channels)
  let ofRow: RowMoments | undefined
  let count = 0
  return {
    add(data, start) {
      ofRow ??= vectorMoments(channels, size, data) ?? plainMoments(channels, size)
      const { means, squares } = ofRow(data, start)
      const total = count + size
      for (let c = 0; c < channels; c++) {
        // As `mergeMoments`, in place.
        const delta = means[c]! - mean[c]!
        mean[c] = count === 0 ? means[c]! : mean[c]! + (delta * size) / total
        m2[c] = count === 0 ? squares[c]! : m2[c]! + squares[c]! + (delta * delta * count * size) / total
      }
      count = total
    },
    get moments() {
      return count === 0 ? null : { count, mean: [...mean], m2: [...m2] }
    },
  }
}

interface MomentsModule {
  memory: WasmMemory
  ofHalves(data: number, channels: number, size: number, scratch: number, means: number, squares: number): void
  ofFloats(data: number, channels: number, size: number, scratch: number, means: number, squares: number): void
}

const loadModule = onceWasm<MomentsModule>(MOMENTS_WASM)
/** Channels that the module takes at once, and its bytes for each place of them (wasm/moments/moments.ts). */
const GROUP = 8
const GROUP_BYTES = GROUP * 8

/** Rows of halves or float32 in WebAssembly; undefined where there is none, and for other types. */
function vectorMoments(channels: number, size: number, { constructor: type }: TensorData): RowMoments | undefined {
  const module = type === Uint16Array || type === Float32Array ? loadModule() : undefined
  if (!module) return undefined
  const padded = Math.ceil(channels / GROUP) * GROUP
  const means = size * GROUP_BYTES
  const squares = means + padded * 8
  const values = squares + padded * 8
  const length = channels * size
  return (data, start) => {
    // The memory is the thread's, for every tally: nothing in it outlives a row.
    ensureMemory(module.memory, values + length * data.BYTES_PER_ELEMENT)
    const { buffer } = module.memory
    const row = data.subarray(start, start + length)
    if (row instanceof Uint16Array) {
      new Uint16Array(buffer, values, length).set(row)
      module.ofHalves(values, channels, size, 0, means, squares)
    } else {
      new Float32Array(buffer, values, length).set(row)
      module.ofFloats(values, channels, size, 0, means, squares)
    }
    return {
      means: new Float64Array(buffer, means, channels),
      squares: new Float64Array(buffer, squares, channels),
    }
  }
}

/** Channels at once: sums of several do not wait for each other. */
const LANES = 4

/** The same without WebAssembly. Exported for its test. */
export function plainMoments(channels: number, size: number): RowMoments {
  const values = new Float64Array(LANES * size)
  const sums = new Float64Array(LANES)
  const sumsOfSquares = new Float64Array(LANES)
  const means = new Float64Array(channels)
  const squares = new Float64Array(channels)
  return (data, start) => {
    for (let c = 0; c < channels; c += LANES) {
      sumChannels(data, start, c, channels, values, sums)
      for (let lane = 0; lane < LANES; lane++) sums[lane] = sums[lane]! / size
      sumSquares(values, sums, sumsOfSquares)
      const count = Math.min(LANES, channels - c)
      means.set(sums.subarray(0, count), c)
      squares.set(sumsOfSquares.subarray(0, count), c)
    }
    return { means, squares }
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
