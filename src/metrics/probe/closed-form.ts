/**
 * Probes without training, on stored features: k nearest neighbours by cosine similarity with weights
 * exp(s / 0.07) (as DINO evaluates, k = 20), and ridge regression onto one-hot labels in closed form.
 */
import type { MatrixProducts } from '../linalg/matmul.js'
import type { Matrix } from '../linalg/matrix.js'
import { type FeatureLayout, selectInput } from './layout.js'
import type { StoredFeatures } from './stored-features.js'

/** What both read of a set. */
export type LabelledRows = Pick<StoredFeatures, 'file' | 'layout' | 'labels'>

const BLOCK = 1000
const TEMPERATURE = 0.07

/** Standard input of both: the last CLS token, with the patch mean where there is one. */
async function inputs(set: LabelledRows, start: number, count: number): Promise<Float32Array> {
  return selectInput(await set.file.block(start, count), set.layout, 1, set.layout.patches)
}

const inputWidth = ({ dim, patches }: FeatureLayout): number => dim * (patches ? 2 : 1)

/** [count, width] in float64, rows scaled to length 1. */
function unitRows(values: Float32Array, width: number): Matrix {
  const count = values.length / width
  const data = new Float64Array(values.length)
  for (let r = 0; r < count; r++) {
    let sum = 0
    for (let c = 0; c < width; c++) sum += values[r * width + c]! ** 2
    const norm = Math.max(1e-12, Math.sqrt(sum))
    for (let c = 0; c < width; c++) data[r * width + c] = values[r * width + c]! / norm
  }
  return { rows: count, columns: width, data }
}

/** Percent of `test` whose neighbours in `train` vote for its label. */
export async function nearestNeighbours(
  train: LabelledRows,
  test: LabelledRows,
  classes: number,
  k: number,
  products: MatrixProducts,
): Promise<number> {
  const width = inputWidth(train.layout)
  let correct = 0
  for (let t0 = 0; t0 < test.labels.length; t0 += BLOCK) {
    const count = Math.min(BLOCK, test.labels.length - t0)
    const queries = unitRows(await inputs(test, t0, count), width)
    const best = Array.from({ length: count }, () => [] as { s: number; label: number }[])
    for (let r0 = 0; r0 < train.labels.length; r0 += BLOCK) {
      const size = Math.min(BLOCK, train.labels.length - r0)
      const { data } = await products.timesTransposed(queries, unitRows(await inputs(train, r0, size), width))
      for (let i = 0; i < count; i++) {
        const list = best[i]!
        for (let j = 0; j < size; j++) {
          const s = data[i * size + j]!
          if (list.length === k && s <= list[k - 1]!.s) continue
          let at = list.length
          while (at > 0 && list[at - 1]!.s < s) at--
          list.splice(at, 0, { s, label: train.labels[r0 + j]! })
          if (list.length > k) list.pop()
        }
      }
    }
    for (const [i, list] of best.entries()) {
      const votes = new Float64Array(classes)
      for (const { s, label } of list) votes[label]! += Math.exp(s / TEMPERATURE)
      if (votes.indexOf(votes.reduce((a, b) => Math.max(a, b), 0)) === test.labels[t0 + i]) correct++
    }
  }
  return (100 * correct) / test.labels.length
}

export const RIDGE_STRENGTHS = [1e-4, 1e-3, 1e-2, 1e-1, 1]

export interface RidgeResult {
  /** Percent, by strength; the strength is relative to the mean diagonal of XᵀX. */
  accuracies: { strength: number; top1: number }[]
  best: number
}

/** Ridge regression on centred features and one-hot labels. */
export async function ridgeProbe(
  train: LabelledRows,
  test: LabelledRows,
  classes: number,
  products: MatrixProducts,
): Promise<RidgeResult> {
  const width = inputWidth(train.layout)
  const n = train.labels.length
  const mean = new Float64Array(width)
  for (let r0 = 0; r0 < n; r0 += BLOCK) {
    const block = await inputs(train, r0, Math.min(BLOCK, n - r0))
    for (let i = 0; i < block.length; i++) mean[i % width]! += block[i]! / n
  }
  const shares = new Float64Array(classes)
  for (const label of train.labels) shares[label]! += 1 / n
  const gram = new Float64Array(width * width)
  const target = new Float64Array(width * classes)
  for (let r0 = 0; r0 < n; r0 += BLOCK) {
    const count = Math.min(BLOCK, n - r0)
    const x = transpose(centred(await inputs(train, r0, count), mean)) // [width, count]
    const y = new Float64Array(classes * count)
    for (let c = 0; c < classes; c++)
      for (let i = 0; i < count; i++) y[c * count + i] = (train.labels[r0 + i] === c ? 1 : 0) - shares[c]!
    const xx = await products.timesTransposed(x, x)
    const xy = await products.timesTransposed(x, { rows: classes, columns: count, data: y })
    for (let i = 0; i < gram.length; i++) gram[i]! += xx.data[i]!
    for (let i = 0; i < target.length; i++) target[i]! += xy.data[i]!
  }
  let scale = 0
  for (let i = 0; i < width; i++) scale += gram[i * width + i]! / width
  const accuracies: RidgeResult['accuracies'] = []
  for (const strength of RIDGE_STRENGTHS) {
    const solution = solvePositive(gram, target, width, classes, Math.max(strength * scale, Number.MIN_VALUE))
    const weights = transpose({ rows: width, columns: classes, data: solution })
    let correct = 0
    for (let t0 = 0; t0 < test.labels.length; t0 += BLOCK) {
      const count = Math.min(BLOCK, test.labels.length - t0)
      const x = centred(await inputs(test, t0, count), mean)
      const { data } = await products.timesTransposed(x, weights)
      for (let i = 0; i < count; i++) {
        let best = 0
        const score = (c: number): number => data[i * classes + c]! + shares[c]!
        for (let c = 1; c < classes; c++) if (score(c) > score(best)) best = c
        if (best === test.labels[t0 + i]) correct++
      }
    }
    accuracies.push({ strength, top1: (100 * correct) / test.labels.length })
  }
  return { accuracies, best: accuracies.reduce((max, entry) => Math.max(max, entry.top1), 0) }
}

function centred(values: Float32Array, mean: Float64Array): Matrix {
  const width = mean.length
  const data = Float64Array.from(values, (value, i) => value - mean[i % width]!)
  return { rows: values.length / width, columns: width, data }
}

function transpose({ rows, columns, data }: Matrix): Matrix {
  const out = new Float64Array(data.length)
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) out[c * rows + r] = data[r * columns + c]!
  return { rows: columns, columns: rows, data: out }
}

/** (A + λI)⁻¹·B by Cholesky; A is [n, n], B [n, k]. */
function solvePositive(a: Float64Array, b: Float64Array, n: number, k: number, lambda: number): Float64Array {
  const l = a.slice()
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = l[i * n + j]! + (i === j ? lambda : 0)
      for (let m = 0; m < j; m++) sum -= l[i * n + m]! * l[j * n + m]!
      l[i * n + j] = i === j ? Math.sqrt(sum) : sum / l[j * n + j]!
    }
  }
  const x = b.slice()
  const eliminate = (row: number, from: number, factor: number): void => {
    for (let c = 0; c < k; c++) x[row * k + c]! -= factor * x[from * k + c]!
  }
  const divide = (row: number): void => {
    for (let c = 0; c < k; c++) x[row * k + c]! /= l[row * n + row]!
  }
  for (let i = 0; i < n; i++) {
    for (let m = 0; m < i; m++) eliminate(i, m, l[i * n + m]!)
    divide(i)
  }
  for (let i = n - 1; i >= 0; i--) {
    for (let m = i + 1; m < n; m++) eliminate(i, m, l[m * n + i]!)
    divide(i)
  }
  return x
}
