/**
 * The central types. A run is a pure function: dataset listing × model × preprocessing → shards.
 *
 *   Source --list--> ListingEntry* --plan--> Unit* --read/preprocess/encode--> Row* --write--> shard + commit
 *
 * A unit is an ordered slice of the listing that becomes exactly one shard; it is done when, and only
 * when, its commit exists. Per-image failures are `Reject`s, data like any row, never exceptions.
 */

/** Where the bytes of one image live, in a form that survives JSON (it is stored in the listing). Paths may be `s3://…`. */
export type Location =
  /** A whole file or object: a path, or `s3://bucket/key`. `bytes` is the raw path (base64) when it is not UTF-8. */
  | { kind: 'file'; path: string; bytes?: string; size?: number; etag?: string }
  /** A byte range of a file: a member of a tar. With `packed` of what the file unpacks to. */
  | { kind: 'range'; path: string; offset: number; size: number; etag?: string; packed?: 'gzip' }
  /** A row of a Parquet file; `column` where the image's column was chosen by its name. */
  | { kind: 'parquet'; path: string; rowGroup: number; row: number; etag?: string; column?: string }
  /** A row of an Arrow file that `datasets` has saved, by record batch. */
  | { kind: 'arrow'; path: string; batch: number; row: number; column?: string }
  /** An address that must not be stored, because it holds a signature: a byte range of the list that names it. */
  | { kind: 'line'; path: string; offset: number; size: number }
  /** A row of a shard of ours, by record batch or row group. */
  | { kind: 'shard'; path: string; group: number; row: number }
  /** No bytes elsewhere: the entry's caption is the text to embed. */
  | { kind: 'text' }
  /** An entry that is known to be bad when it is listed; it becomes a reject. */
  | { kind: 'bad'; code: RejectCode; message: string }

/** One image to be, as listed: one JSON line of `_vtp/listing-….jsonl`. */
export interface ListingEntry {
  /** Unique within the dataset: the path relative to SOURCE, tar name + member, Parquet file + row. */
  key: string
  /** Where a person finds it: an absolute path, `s3://…`, `https://…` without secrets, `a.tar#member`, `a.parquet#row=3`. */
  uri: string
  /** 0-based class, where the source has classes. */
  label?: number
  caption?: string
  /** The source's other fields, as a JSON object; only where they were asked for. */
  metadata?: string
  at: Location
}

/** Files or members that a source has seen and not taken. */
export interface PassedOver {
  count: number
  /** Some of their names. */
  examples: string[]
}

/** Something that happened to several entries of a listing, told once: labels that were lost, fields left out. */
export interface SourceNote {
  /** Stable, for programs. */
  code: string
  count: number
  examples: string[]
  /** One sentence, for people. */
  message: string
}

/** Keeps pieces of a long listing, so that a planner that died need not ask for them again. */
export interface ListingLog {
  read(): AsyncIterable<Uint8Array>
  append(piece: Uint8Array): Promise<void>
}

/** A dataset. `list` yields entries in the final order; it streams and holds no more than a bounded part of them. */
export interface Source {
  readonly kind: 'folder' | 'list' | 'tar' | 'parquet' | 'dataset' | 'shards' | 'text'
  /** What the plan records, e.g. the absolute path of the folder. */
  readonly uri: string
  /** Class names by label, known once `list` has ended; undefined for sources without classes. */
  readonly classes?: readonly string[]
  /** What was seen and passed over (no image by its name), known once `list` has ended. */
  readonly passedOver: PassedOver
  /** What else there is to tell, known once `list` has ended. */
  readonly notes: readonly SourceNote[]
  /** Size of the images where all have the same, because they were preprocessed before. */
  readonly pixelSize?: { height: number; width: number }
  list(signal?: AbortSignal, log?: ListingLog): AsyncIterable<ListingEntry>
  /** The image's bytes. Throws `RejectError` for anything wrong with this one image. */
  read(entry: ListingEntry, signal?: AbortSignal): Promise<Uint8Array>
  close(): Promise<void>
}

/** Why an image became no row. A closed list: scripts may switch over it. docs/commands.md explains each. */
export const REJECT_CODES = [
  'not_found',
  'changed',
  'unreadable',
  'empty',
  'too_many_bytes',
  'too_many_pixels',
  'unsupported_format',
  'corrupt',
  'bad_entry',
  'duplicate_key',
  'decode_timeout',
  'crashed_decoder',
  'non_finite',
] as const
export type RejectCode = (typeof REJECT_CODES)[number]

export type Stage = 'list' | 'read' | 'decode' | 'transform' | 'encode'

/** One image that became no row: one JSON line of `_rejects-NNNNN.jsonl`. */
export interface Reject {
  key: string
  uri: string
  stage: Stage
  code: RejectCode
  message: string
}

/** Thrown inside `read`, `decode` and `transform` for one bad image; the pipeline turns it into a `Reject`. */
export class RejectError extends Error {
  readonly code: RejectCode
  readonly stage: Stage
  constructor(code: RejectCode, stage: Stage, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.name = 'RejectError'
    this.code = code
    this.stage = stage
  }
}

/** An 8-bit RGB image, rows top to bottom. `data` has height × width × 3 bytes. */
export interface RgbImage {
  data: Uint8Array // [H, W, 3]
  width: number
  height: number
}

/** Element types of stored tensors. */
export type StoredDtype = 'float16' | 'float32' | 'uint8' | 'int32'

/** A tensor column of a shard: `shape` is that of one row. */
export interface TensorColumn {
  name: string
  dtype: StoredDtype
  shape: number[]
}

/** The tensors of a batch of rows, by column name; float16 values are raw bits in a Uint16Array. */
export type TensorData = Float32Array | Uint16Array | Uint8Array | Int32Array

/** What is known of a row besides its tensors. */
export interface RowMeta {
  key: string
  uri: string
  label: number | null
  caption: string | null
  /** The source's other fields, as a JSON object; absent where they were not asked for. */
  metadata?: string | null
  /** Size of the original image in pixels, as stored (EXIF orientation is not applied). */
  width: number
  height: number
  /** SHA-256 of the source bytes (32 bytes). */
  sha256: Uint8Array
}

/** Consecutive rows of a unit. `tensors[c]` holds rows.length × product(shape) elements. */
export interface RowBatch {
  rows: RowMeta[]
  tensors: Record<string, TensorData>
}
