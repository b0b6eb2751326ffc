/**
 * Batches on a device whose memory is small and whose kernels depend on shapes (a GPU). Every run has the
 * same number of rows: a short batch is padded and the padding cut off again, so that one set of kernels
 * serves all batches and bits do not depend on a batch's size. Out of memory halves the size, for good.
 */
import { VtpError } from '../errors.js'
import type { RunResult, Session, TensorArray, TensorValue } from './session.js'

export interface BatchingOptions {
  /** Rows of every run, to begin with. */
  rows: number
  /** Called with the new size after the device ran out of memory. */
  onSmaller?: (rows: number) => void
}

const OUT_OF_MEMORY = /out of memory|failed to allocate memory|_alloc_failed|bad_alloc|CUDA failure 2:/i

/** Whether the engine failed for lack of memory on the device. */
export function isOutOfMemory(error: unknown): boolean {
  return error instanceof VtpError && error.code === 'engine_run_failed' && OUT_OF_MEMORY.test(error.message)
}

/** A session that takes any number of rows and runs them in equal parts. The first dimension of every tensor is rows. */
export function createBatching(session: Session, options: BatchingOptions): Session {
  let rows = options.rows
  return {
    settings: session.settings,
    async run(inputs, fetches) {
      const total = Object.values(inputs)[0]!.dims[0]!
      const parts: { result: RunResult; count: number }[] = []
      for (let start = 0; start < total; ) {
        const size = rows
        const count = Math.min(size, total - start)
        try {
          parts.push({ result: await session.run(cutInputs(inputs, start, count, size), fetches), count })
          start += count
        } catch (error) {
          if (!isOutOfMemory(error) || size === 1) throw error
          // Another run may have made it smaller already.
          if (rows === size) {
            rows = Math.ceil(size / 2)
            options.onSmaller?.(rows)
          }
        }
      }
      return joinResults(parts)
    },
    close: () => session.close(),
  }
}

function emptyLike(data: TensorArray, length: number): TensorArray {
  return new (data.constructor as new (length: number) => TensorArray)(length)
}

/** Rows start … start + count in arrays of their own (they are transferred away), padded with zeros to `size` rows. */
function cutInputs(
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

function joinResults(parts: { result: RunResult; count: number }[]): RunResult {
  const outputs: Record<string, TensorValue> = {}
  const total = parts.reduce((sum, { count }) => sum + count, 0)
  for (const [name, first] of Object.entries(parts[0]!.result.outputs)) {
    const row = first.data.length / first.dims[0]!
    const data = emptyLike(first.data, total * row)
    let at = 0
    for (const { result, count } of parts) {
      data.set(result.outputs[name]!.data.subarray(0, count * row) as never, at * row)
      at += count
    }
    outputs[name] = { data, dtype: first.dtype, dims: [total, ...first.dims.slice(1)] }
  }
  return { outputs, seconds: parts.reduce((sum, { result }) => sum + result.seconds, 0) }
}
