/** What a shard is to those who write it and to those who read it; a format implements `FormatWriter` and `Shard`. */
import type { Moments } from '../../math/moments.js'
import type { RowBatch, TensorColumn } from '../../types.js'

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

export interface Shard {
  readonly path: string
  readonly rows: number
  /** Tensor columns. */
  readonly columns: TensorColumn[]
  readonly provenance: Record<string, string>
  /** Row metadata and the named tensors, in batches of at most `batchRows` rows. */
  read(columns: string[], batchRows: number): AsyncGenerator<RowBatch>
  /** Record batches, row groups or runs of rows that `readGroup` takes; absent in formats without them. */
  readonly groups?: number
  /** All rows of one group. */
  readGroup?(index: number, columns: string[]): Promise<RowBatch>
  close(): Promise<void>
}
