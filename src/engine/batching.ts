/**
 * Batches on a device whose memory is small and whose kernels depend on shapes (a GPU). Every run has the
 * same number of rows: a short batch is padded and the padding cut off again, so that one set of kernels
 * serves all batches and bits do not depend on a batch's size. Out of memory halves the size, for good.
 */
import { VtpError } from '../errors.js'
import { cutRows, joinRows, type RowsResult, rowCount } from './rows.js'
import type { Session } from './session.js'

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
      const total = rowCount(inputs)
      const parts: RowsResult[] = []
      for (let start = 0; start < total; ) {
        const size = rows
        const count = Math.min(size, total - start)
        try {
          parts.push({ result: await session.run(cutRows(inputs, start, count, size), fetches), count })
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
      const seconds = parts.reduce((sum, { result }) => sum + result.seconds, 0)
      return { outputs: joinRows(parts), seconds }
    },
    close: () => session.close(),
  }
}
