/** Opens the writer of a unit's shard. What only reading needs (read.ts) is not loaded with it. */

import { tallyMoments } from '../../math/moments.js'
import { columnSize } from './rebatch.js'
import type { FormatWriter, ShardFormat, ShardSpec, ShardWriter } from './types.js'

/** The file name of a unit's shard. */
export function shardName(format: ShardFormat, unit: number): string {
  if (format === 'safetensors') return `latents_rank00_shard${String(unit).padStart(3, '0')}.safetensors`
  return `part-${String(unit).padStart(5, '0')}.${format}`
}

async function openFormat(
  spec: ShardSpec,
  unit: number,
  tmpDir: string,
  expectedRows: number | undefined,
): Promise<FormatWriter> {
  const name = shardName(spec.format, unit)
  switch (spec.format) {
    case 'npy': {
      const number = String(unit).padStart(String(spec.shards ?? 1).length, '0')
      return (await import('./npy.js')).openNpyWriter(spec, number, tmpDir, expectedRows)
    }
    case 'arrow':
      return (await import('./arrow.js')).openArrowWriter(spec, name, tmpDir)
    case 'parquet':
      return (await import('./parquet.js')).openParquetWriter(spec, name, tmpDir)
    case 'safetensors':
      return (await import('./safetensors.js')).openSafetensorsWriter(spec, name, tmpDir, expectedRows)
  }
}

/**
 * Opens the writer of a unit's shard; its files lie in `tmpDir` until they are committed. `expectedRows`: at most so many
 * rows will come, and mostly just as many. It is no part of the bytes, and saves some formats a copy of them.
 */
export async function openShardWriter(
  spec: ShardSpec,
  unit: number,
  tmpDir: string,
  expectedRows?: number,
): Promise<ShardWriter> {
  const writer = await openFormat(spec, unit, tmpDir, expectedRows)
  const latents = spec.columns.find((column) => column.name === 'latents')
  const size = latents ? columnSize(latents) : 0
  const tally = latents && tallyMoments(latents.shape[0]!, size / latents.shape[0]!)
  let rows = 0
  return {
    async append(batch) {
      for (let row = 0; tally && row < batch.rows.length; row++) tally.add(batch.tensors.latents!, row * size)
      rows += batch.rows.length
      await writer.append(batch)
    },
    finish: async () => ({ files: await writer.finish(), rows, moments: tally?.moments ?? null }),
    abort: () => writer.abort(),
  }
}
