/** Shards: writers of one unit's rows, and readers. A new format is one writer here and one reader in read.ts. */

import { type Moments, mergeMoments, rowMoments } from '../../math/moments.js'
import type { RowBatch, TensorColumn } from '../../types.js'
import { columnSize } from './rebatch.js'

export { findShards, openShard, type Shard } from './read.js'

/** Formats for any columns (safetensors: with latents). */
export const FORMATS = ['arrow', 'parquet', 'safetensors'] as const
/** `npy` holds embeddings only. */
export type ShardFormat = (typeof FORMATS)[number] | 'npy'

export interface ShardSpec {
  format: ShardFormat
  /** Tensor columns in the order of the schema. */
  columns: TensorColumn[]
  /** Whether there is a caption column. */
  captions: boolean
  /** Whether there is a column with the source's other fields. */
  metadata?: boolean
  /** Whether the rows are texts, not images (npy names its folders by it). */
  texts?: boolean
  /** How many shards the run has (npy pads its numbers by it). */
  shards?: number
  /** Whether the URI also goes into a column `image_path`, as clip-retrieval looks for it. */
  imagePaths?: boolean
  /** Names by label, for formats whose schema has no place for them. */
  classes?: readonly string[] | null
  /** Schema metadata. */
  provenance: Record<string, string>
}

export interface FinishedFile {
  /** Final name in DEST. */
  name: string
  /** Where the finished file lies now. */
  path: string
  bytes: number
  /** Hex. */
  sha256: string
}

export interface ShardFiles {
  rows: number
  files: FinishedFile[]
  /** Of the stored, not mirrored latents; null when there are none. */
  moments: Moments | null
}

/** What a format has to offer. */
export interface FormatWriter {
  append(batch: RowBatch): Promise<void>
  finish(): Promise<FinishedFile[]>
  /** Closes and deletes temporary files. */
  abort(): Promise<void>
}

/** Writes one shard with bounded memory; see each format for its bound. */
export interface ShardWriter {
  /** Appends rows in order. Throws VtpErrors for a full disk and the like. */
  append(batch: RowBatch): Promise<void>
  finish(): Promise<ShardFiles>
  abort(): Promise<void>
}

/** The file name of a unit's shard. */
export function shardName(format: ShardFormat, unit: number): string {
  if (format === 'safetensors') return `latents_rank00_shard${String(unit).padStart(3, '0')}.safetensors`
  return `part-${String(unit).padStart(5, '0')}.${format}`
}

async function openFormat(spec: ShardSpec, unit: number, tmpDir: string): Promise<FormatWriter> {
  const name = shardName(spec.format, unit)
  switch (spec.format) {
    case 'npy': {
      const number = String(unit).padStart(String(spec.shards ?? 1).length, '0')
      return (await import('./npy.js')).openNpyWriter(spec, number, tmpDir)
    }
    case 'arrow':
      return (await import('./arrow.js')).openArrowWriter(spec, name, tmpDir)
    case 'parquet':
      return (await import('./parquet.js')).openParquetWriter(spec, name, tmpDir)
    case 'safetensors':
      return (await import('./safetensors.js')).openSafetensorsWriter(spec, name, tmpDir)
  }
}

/** Opens the writer of a unit's shard; its files lie in `tmpDir` until they are committed. */
export async function openShardWriter(spec: ShardSpec, unit: number, tmpDir: string): Promise<ShardWriter> {
  const writer = await openFormat(spec, unit, tmpDir)
  const latents = spec.columns.find((column) => column.name === 'latents')
  let rows = 0
  let moments: Moments | null = null
  return {
    async append(batch) {
      if (latents) {
        const [channels = 0] = latents.shape
        const size = columnSize(latents)
        for (let row = 0; row < batch.rows.length; row++) {
          // Row by row, in order: the result does not depend on the batches.
          const next = rowMoments(batch.tensors.latents!, row * size, channels, size / channels)
          moments = moments ? mergeMoments(moments, next) : next
        }
      }
      rows += batch.rows.length
      await writer.append(batch)
    },
    finish: async () => ({ files: await writer.finish(), rows, moments }),
    abort: () => writer.abort(),
  }
}
