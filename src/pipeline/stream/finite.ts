/** Finds rows whose tensors hold a NaN or an infinity (an overflow of float16, a broken model). */
import type { Reject, RowBatch, RowMeta, TensorColumn, TensorData } from '../../types.js'

/** A row that was taken out of a batch, by its position there. */
export interface DroppedRow {
  index: number
  column: string
}

/** What becomes of a dropped row. */
export function nonFiniteReject({ key, uri }: Pick<RowMeta, 'key' | 'uri'>, column: string): Reject {
  const message = `the model's output "${column}" is not finite (float16 ends at 65504; try --dtype float32)`
  return { key, uri, stage: 'encode', code: 'non_finite', message }
}

function isFiniteRow(data: TensorData, start: number, end: number): boolean {
  if (data instanceof Uint16Array) {
    for (let i = start; i < end; i++) if ((data[i]! & 0x7c00) === 0x7c00) return false
  } else if (data instanceof Float32Array) {
    // x - x is 0 for finite x and NaN otherwise: one pass without a call per element.
    let sum = 0
    for (let i = start; i < end; i++) sum += data[i]! - data[i]!
    return sum === 0
  }
  return true
}

/** The batch without rows that are not finite, and which those were. The batch itself when all are. */
export function takeFiniteRows(batch: RowBatch, columns: TensorColumn[]): { batch: RowBatch; dropped: DroppedRow[] } {
  const dropped: DroppedRow[] = []
  const kept: number[] = []
  const sizes = new Map(columns.map((c) => [c.name, c.shape.reduce((a, b) => a * b, 1)]))
  for (let row = 0; row < batch.rows.length; row++) {
    const bad = columns.find(({ name }) => {
      const size = sizes.get(name)!
      return !isFiniteRow(batch.tensors[name]!, row * size, (row + 1) * size)
    })
    if (bad) dropped.push({ index: row, column: bad.name })
    else kept.push(row)
  }
  if (dropped.length === 0) return { batch, dropped }
  const tensors: RowBatch['tensors'] = {}
  for (const { name } of columns) {
    const size = sizes.get(name)!
    const all = batch.tensors[name]!
    const data = all.slice(0, kept.length * size)
    kept.forEach((row, i) => {
      data.set(all.subarray(row * size, (row + 1) * size), i * size)
    })
    tensors[name] = data
  }
  return { batch: { rows: kept.map((row) => batch.rows[row]!), tensors }, dropped }
}
