/**
 * Rows come in batches of any size and leave in batches of a fixed one, so that a file's bytes do not
 * depend on how rows were batched before. Holds one batch.
 */
import type { RowBatch, RowMeta, TensorColumn, TensorData } from '../../types.js'

/** What holds the elements of a stored type; float16 is raw bits. */
export const TENSOR_ARRAYS = {
  float16: Uint16Array,
  float32: Float32Array,
  uint8: Uint8Array,
  int32: Int32Array,
} as const

export function columnSize(column: TensorColumn): number {
  return column.shape.reduce((a, b) => a * b, 1)
}

/** Bytes of one row's tensors. */
export function tensorBytes(columns: TensorColumn[]): number {
  return columns.reduce((sum, column) => sum + columnSize(column) * TENSOR_ARRAYS[column.dtype].BYTES_PER_ELEMENT, 0)
}

/** Rows per batch so that a batch has about `targetBytes`, and at most 1024 rows. */
export function rowsPerBatch(columns: TensorColumn[], targetBytes: number): number {
  return Math.max(1, Math.min(1024, Math.floor(targetBytes / Math.max(1, tensorBytes(columns)))))
}

export function emptyTensor(column: TensorColumn, rows: number): TensorData {
  const length = rows * columnSize(column)
  return new TENSOR_ARRAYS[column.dtype](length)
}

export interface Rebatcher {
  /** Emits full batches on the way. */
  append(batch: RowBatch): Promise<void>
  /** Emits what is left. */
  flush(): Promise<void>
}

/** `emit` has to be done with the tensors when it resolves: their memory serves the next batch. */
export function createRebatcher(
  columns: TensorColumn[],
  rows: number,
  emit: (batch: RowBatch) => Promise<void>,
): Rebatcher {
  let metas: RowMeta[] = []
  const tensors: Record<string, TensorData> = Object.fromEntries(
    columns.map((column) => [column.name, emptyTensor(column, rows)]),
  )
  const flush = async (): Promise<void> => {
    if (metas.length === 0) return
    const full = metas.length === rows
    const out = Object.fromEntries(
      columns.map((c) => [
        c.name,
        full ? tensors[c.name]! : tensors[c.name]!.subarray(0, metas.length * columnSize(c)),
      ]),
    )
    const batch = { rows: metas, tensors: out }
    metas = []
    await emit(batch)
  }
  return {
    flush,
    async append(batch) {
      for (let from = 0; from < batch.rows.length; ) {
        const count = Math.min(rows - metas.length, batch.rows.length - from)
        for (const column of columns) {
          const size = columnSize(column)
          const part = batch.tensors[column.name]!.subarray(from * size, (from + count) * size)
          tensors[column.name]!.set(part, metas.length * size)
        }
        metas.push(...batch.rows.slice(from, from + count))
        from += count
        if (metas.length === rows) await flush()
      }
    },
  }
}
