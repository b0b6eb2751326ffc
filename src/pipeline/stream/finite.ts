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

/** Bits of the exponent, and what carries into the sign where they are all ones; two halves at once. */
const HALVES = { exponents: 0x7c007c00, carry: 0x04000400, signs: 0x80008000 }
const FLOATS = { exponents: 0x7f800000, carry: 0x00800000, signs: 0x80000000 }

/** Whether no value is infinite or NaN, by its bits: four bytes at a time, without a branch for each. */
function isFiniteRow(data: TensorData, start: number, end: number): boolean {
  if (data instanceof Uint16Array) {
    // Words begin at multiples of four bytes: a half may stand before them, and one behind.
    const from = start + (((data.byteOffset >> 1) + start) & 1)
    const count = Math.max(0, (end - from) >> 1)
    const edges = [...data.subarray(start, Math.min(from, end)), ...data.subarray(from + 2 * count, end)]
    if (edges.some((bits) => (bits & 0x7c00) === 0x7c00)) return false
    return areFinite(new Uint32Array(data.buffer, data.byteOffset + 2 * from, count), HALVES)
  }
  if (!(data instanceof Float32Array)) return true
  return areFinite(new Uint32Array(data.buffer, data.byteOffset + 4 * start, end - start), FLOATS)
}

function areFinite(words: Uint32Array, { exponents, carry, signs }: typeof HALVES): boolean {
  const whole = words.length & ~3
  let carried = 0
  let i = 0
  for (; i < whole; i += 4) {
    carried |=
      ((words[i]! & exponents) + carry) |
      ((words[i + 1]! & exponents) + carry) |
      ((words[i + 2]! & exponents) + carry) |
      ((words[i + 3]! & exponents) + carry)
  }
  for (; i < words.length; i++) carried |= (words[i]! & exponents) + carry
  return (carried & signs) === 0
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
