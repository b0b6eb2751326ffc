/**
 * What every architecture is to the rest of the program. A family (family.ts) makes one of a checkpoint; encode,
 * decode, embed, index, search, the evaluations and `vtp model` know nothing else of it. What a model lacks is
 * absent here and refused by name (parts.ts), never zeros.
 *
 * Graphs take pixels as they are stored, uint8 [N, H, W, 3]; the model's own normalisation is inside. A row of an
 * output depends on that row's input alone, whatever else is in the batch.
 */
import type { GraphFile } from '../graph/compile.js'
import type { Precision } from '../graph/precision.js'
import type { TensorColumn } from '../types.js'

export interface ImageSize {
  height: number
  width: number
}

/**
 * What one pass of the encoder can give for an image, by the names of a shard's columns. `layers` stands for
 * `layer_<k>_cls` and `layer_<k>_patches` of every block k that is asked for.
 */
export const MODEL_OUTPUTS = ['latents', 'clip', 'cls', 'patches', 'layers', 'codes', 'logits'] as const
export type ModelOutput = (typeof MODEL_OUTPUTS)[number]

/**
 * Outputs that no shard holds: `pooled` [D] is the vector that stands for an image where there is no cls token
 * (it is what a probe reads); `clip_features` and `latent_cls` are there to compare with reference data.
 */
export type HiddenOutput = 'pooled' | 'clip_features' | 'latent_cls' | 'logvar'

/** What images are preprocessed for: each has its default transform. */
export const JOBS = ['encode', 'reconstruction', 'zeroshot', 'probe'] as const
export type Job = (typeof JOBS)[number]

export interface EncoderSpec extends ImageSize {
  outputs: (ModelOutput | HiddenOutput)[]
  /** 0-based blocks for `layers`. */
  layers?: number[]
  /** Whether the final norm is applied to them; default true. */
  layersNorm?: boolean
  /** Element type of the input; float32 is of 0…1, for models that take it (`takesFloats`). Default uint8. */
  pixels?: 'uint8' | 'float32'
  /** Element type of the float outputs; `codes` is always int32. */
  dtype: 'float16' | 'float32'
  precision: Precision
  /** The kind of device that the graph is meant for: `cpu`, `cuda`, … */
  device: string
}

export interface DecoderSpec {
  /** Size of the latents' grid, [C, height, width]. */
  height: number
  width: number
  /**
   * `pixels` is uint8 [N, H, W, 3] in the family's own rounding; `image` is float32 [N, 3, H, W] in the model's own
   * range, which `PixelDecoder.mean` and `std` bring to 0…1. Default: `pixels`.
   */
  outputs?: ('pixels' | 'image')[]
  /** Default fp32. */
  precision?: Precision
  /** Normalise by mean and deviation 0.5 instead of the model's own, as a configuration of VTP's reference says. */
  normalize?: 'half'
}

export interface TextSpec {
  /** `clip` is L2-normalised, `features` is not. Default: `clip`. */
  outputs?: ('clip' | 'features')[]
  /** Default fp32. */
  precision?: Precision
  /** `ids` may have fewer columns than the model's length. Only where the tower has `tokensNeeded`. Default false. */
  anyLength?: boolean
}

/** What one session keeps on a device, and what one row of a pass adds to it. Estimates. */
export interface MemoryLoad {
  weightBytes: number
  rowBytes: number
}

/** Parameters of one part, under a stable name for JSON and one for people. */
export interface ParameterCount {
  key: string
  title: string
  count: number
}

/** How floats of 0…1 become the 8 bits that the family's own script saves: x · 255, clamped, then this. */
export type PixelRounding = 'truncate' | 'half-up' | 'half-even'

export interface PixelDecoder {
  /** [C, h, w] of the latents of an image of this size. */
  latentShape(size: ImageSize): [number, number, number]
  /** Size in pixels of what latents of this grid become. */
  imageSize(grid: ImageSize): ImageSize
  /** image · std + mean is the reconstruction in 0…1. */
  readonly mean: readonly number[]
  readonly std: readonly number[]
  readonly rounding: PixelRounding
  /** Whether its script compares with originals that went through normalisation and back, whose rounding then counts. */
  readonly comparesNormalised?: boolean
  /** Input `latents` float32 [N, C, h, w]; outputs as `DecoderSpec` says. */
  compile(spec: DecoderSpec): Promise<GraphFile>
  load(grid: ImageSize, precision: Precision): MemoryLoad
}

export interface Tokenizer {
  /** int64 [texts, length]: begin, pieces cut to what fits, end, padding, as the family trains. */
  encodeBatch(texts: readonly string[], length: number): BigInt64Array
}

/** How similarities become probabilities: over all labels together, or of each by itself. */
export type Probabilities = 'softmax' | 'sigmoid'

export interface TextTower {
  /** Length of an embedding. */
  readonly dim: number
  /** Ids per text. */
  readonly length: number
  /**
   * How many leading ids of a text decide its embedding; columns behind them change no bit of it. Absent where all of
   * them always do.
   */
  readonly tokensNeeded?: (ids: BigInt64Array) => number
  /** Throws a usage error where the checkpoint's vocabulary has no known tokenizer. */
  openTokenizer(): Promise<Tokenizer>
  /** Input `ids` int64 [N, length], or shorter by `anyLength`; output `clip` float32 [N, dim], L2-normalised. */
  compile(spec?: TextSpec): Promise<GraphFile>
  readonly probabilities: Probabilities
  /** logits = scale · cosine + bias. */
  logitScale(): Promise<{ scale: number; bias: number }>
}

/** Parts that a model may lack. */
export type OptionalPart = 'decoder' | 'text'

export interface ImageModel {
  /** Name of the family's folder, e.g. `vtp`. */
  readonly family: string
  /** How people call it: the folder's name, the hub id, or `vtp-nano`. */
  readonly name: string
  /** Where its files are. */
  readonly folder: string
  /** SHA-256 (hex) over configuration and weights; part of every plan and of the cache's keys. */
  readonly digest: string
  readonly cacheDir: string
  readonly parameters: { parts: ParameterCount[]; total: number }
  /** The configuration, for `vtp model info` to print; nothing reads it. */
  readonly settings: Readonly<Record<string, unknown>>

  /** The input that it was trained for. */
  readonly imageSize: ImageSize
  /** Whether the encoder also takes pixels that were not rounded to 8 bits. */
  readonly takesFloats?: boolean
  /** Spec of the default preprocessing for a job, at another size than the trained one if given. */
  transform(job: Job, size?: ImageSize): string
  /** Throws usage error `bad_image_size` for a size that the encoder cannot take, and says which are near. */
  assertSize(size: ImageSize): void
  /** Blocks that `layers` can ask for, counted from 0; 0: it has none to show. */
  readonly depth: number
  /** Every output for one image of this size, in the order of a shard's columns: float32, but `codes` int32. */
  outputs(size: ImageSize, layers?: readonly number[]): TensorColumn[]
  /** What a probe reads of a block (`cls`), or of the whole (`pooled`), and how long it is; undefined where nothing stands for an image. */
  readonly probed: { output: 'cls' | 'pooled'; dim: number } | undefined
  /** The latents are the mean of a distribution whose hidden output `logvar` says how wide it is: they can be drawn. */
  readonly drawsLatents?: boolean
  /** What a protocol must say about an output, e.g. `latents: mean of the posterior`. */
  readonly protocol: Readonly<Partial<Record<ModelOutput | OptionalPart, string>>>
  /** Why this model has no graphs of a precision, e.g. int8 that was not shown to pay; undefined where it has. */
  refuses(precision: Precision): string | undefined
  /** The encoder. Input `pixels` uint8 [N, H, W, 3]; outputs by name. */
  compileEncoder(spec: EncoderSpec): Promise<GraphFile>
  encoderLoad(size: ImageSize, precision: Precision): MemoryLoad

  readonly decoder?: PixelDecoder
  readonly text?: TextTower
  /** Why a part or an output is absent, for messages: `train_clip is false`. */
  readonly lacks: Readonly<Partial<Record<OptionalPart | ModelOutput, string>>>

  /** Closes the files; graphs that are compiled stay usable. */
  close(): Promise<void>
}
