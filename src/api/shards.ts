/** Shards, row by row: what `encode` and `embed` have written, or LightningDiT's feature extraction. */

import { usageError } from '../errors.js'
import { findShards, openShard } from '../io/shards/read.js'
import { float16ToFloat32 } from '../math/half.js'
import type { RowMeta, TensorColumn } from '../types.js'

export interface OpenShardsOptions {
  /** Names of tensor columns; default all. */
  columns?: string[]
  /** Rows that are read at once; default 256. */
  batchRows?: number
  /** `float32` (the default) widens float16; `raw` leaves its bits as they are, in a `Uint16Array`. */
  float16?: 'float32' | 'raw'
}

/** One row: what is known of the image, and its tensors by column name, flat and in row-major order. */
export interface ShardRow extends RowMeta {
  tensors: Record<string, Float32Array | Uint16Array | Uint8Array | Int32Array>
}

export interface Shards extends AsyncIterable<ShardRow> {
  /** Tensor columns with the shape of one row. */
  readonly columns: TensorColumn[]
  readonly rows: number
  /** Files, in the order in which they are read. */
  readonly files: string[]
}

/** Opens a folder of shards (or one shard, or `s3://bucket/prefix`); iterating reads them in order, batch by batch. */
export async function openShards(input: string, options: OpenShardsOptions = {}): Promise<Shards> {
  const files = await findShards(input)
  let rows = 0
  let all: TensorColumn[] = []
  for (const file of files) {
    const shard = await openShard(file)
    rows += shard.rows
    all = shard.columns
    await shard.close()
  }
  const names = options.columns ?? all.map(({ name }) => name)
  const columns = names.map((name) => {
    const column = all.find((each) => each.name === name)
    if (column) return column
    throw usageError('no_such_column', `${input} has no tensor column "${name}"`, [
      `it has ${all.map((each) => each.name).join(', ')}`,
    ])
  })
  const widen = options.float16 !== 'raw'
  return {
    files,
    rows,
    columns: columns.map((column) => (widen && column.dtype === 'float16' ? { ...column, dtype: 'float32' } : column)),
    async *[Symbol.asyncIterator]() {
      for (const file of files) {
        const shard = await openShard(file)
        try {
          for await (const batch of shard.read(names, options.batchRows ?? 256)) {
            for (const [i, meta] of batch.rows.entries()) {
              const tensors: ShardRow['tensors'] = {}
              for (const { name, dtype } of columns) {
                const data = batch.tensors[name]!
                const size = data.length / batch.rows.length
                // A copy: whoever keeps a row does not keep its batch.
                const row = data.slice(i * size, (i + 1) * size)
                tensors[name] = widen && dtype === 'float16' ? float16ToFloat32(row as Uint16Array) : row
              }
              yield { ...meta, tensors }
            }
          }
        } finally {
          await shard.close()
        }
      }
    },
  }
}
