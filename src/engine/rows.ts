/** Tensors cut into parts along their first dimension, and results of the parts put together again. */
import type { RunResult, TensorArray, TensorValue } from './session.js'

/** The result of a part, of which the first `count` rows are wanted. */
export interface RowsResult {
  result: RunResult
  count: number
}

/** Rows of the inputs of a run: all have the same number. */
export function rowCount(inputs: Record<string, TensorValue>): number {
  return Object.values(inputs)[0]!.dims[0]!
}

function emptyLike(data: TensorArray, length: number): TensorArray {
  return new (data.constructor as new (length: number) => TensorArray)(length)
}

/** Rows start … start + count in arrays of their own (they are transferred away), padded with zeros to `size` rows. */
export function cutRows(
  inputs: Record<string, TensorValue>,
  start: number,
  count: number,
  size: number,
): Record<string, TensorValue> {
  const out: Record<string, TensorValue> = {}
  for (const [name, { data, dtype, dims }] of Object.entries(inputs)) {
    const row = data.length / dims[0]!
    const part = emptyLike(data, size * row)
    part.set(data.subarray(start * row, (start + count) * row) as never)
    out[name] = { data: part, dtype, dims: [size, ...dims.slice(1)] }
  }
  return out
}

/** The outputs of all parts, in their order. */
export function joinRows(parts: RowsResult[]): Record<string, TensorValue> {
  const { result: only, count: wanted } = parts[0]!
  if (parts.length === 1 && Object.values(only.outputs).every(({ dims }) => dims[0] === wanted)) return only.outputs
  const outputs: Record<string, TensorValue> = {}
  const total = parts.reduce((sum, { count }) => sum + count, 0)
  for (const [name, first] of Object.entries(only.outputs)) {
    const row = first.data.length / first.dims[0]!
    const data = emptyLike(first.data, total * row)
    let at = 0
    for (const { result, count } of parts) {
      data.set(result.outputs[name]!.data.subarray(0, count * row) as never, at * row)
      at += count
    }
    outputs[name] = { data, dtype: first.dtype, dims: [total, ...first.dims.slice(1)] }
  }
  return outputs
}
