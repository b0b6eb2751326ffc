/**
 * A family of models: a folder that answers "is this checkpoint mine?" and opens it. Adding one touches its folder,
 * one line of registry.ts, and its tests.
 *
 * `claim` sees names, small texts and (once files are here) the names of tensors, so that it works on a folder, on
 * what a hub lists and on a prefix in a bucket alike; it is also what decides which files are downloaded.
 */
import type { ImageModel } from './image-model.js'

/** A checkpoint to be recognised. */
export interface Candidate {
  /** What the user gave, for messages. */
  readonly ref: string
  /** Names of the files, relative, with `/`, sorted. Few levels deep; nothing outside the folder. */
  readonly files: readonly string[]
  /** The one file that the user named, where its name says more than its folder's (`dinov2_vitl14_pretrain.pth`; not `model.safetensors`). */
  readonly file?: string
  /** Text of a small file; undefined where there is none. */
  readText(name: string): Promise<string | undefined>
  /** A small JSON file that holds an object; undefined where there is none. Throws VtpError `bad_config`. */
  readJson(name: string): Promise<Record<string, unknown> | undefined>
  /**
   * Shapes of the tensors of a file, by name; undefined where the file is not on this machine yet. `keys` say where a
   * torch file may keep its state dict.
   */
  readShapes(name: string, keys?: string[]): Promise<ReadonlyMap<string, readonly number[]> | undefined>
}

export interface Claim {
  /** Files that the model needs, of `Candidate.files`. The shards that an `*.index.json` among them lists come by themselves. */
  files: string[]
}

export interface OpenContext {
  cacheDir: string
  /** Lines for people, e.g. on a download. */
  onNote?: (line: string) => void
  signal?: AbortSignal
  /** Opens another model that this one is made of (an encoder by its hub id). */
  openModel(ref: string): Promise<ImageModel>
}

/** A claimed checkpoint whose files are on this machine. */
export interface LocalCheckpoint extends Candidate {
  readonly folder: string
  /** How people call the model. */
  readonly name: string
  readonly claim: Claim
}

export interface Family {
  /** Name of its folder. */
  readonly name: string
  /** For messages: what its checkpoints look like, e.g. `VTP (config.json and model.safetensors)`. */
  readonly title: string
  /** Undefined when the checkpoint is not of this family. Throws when it is, but cannot be used. */
  claim(candidate: Candidate): Promise<Claim | undefined>
  /** Opens it; reads headers only, plus a digest that is cached. */
  open(checkpoint: LocalCheckpoint, context: OpenContext): Promise<ImageModel>
}
