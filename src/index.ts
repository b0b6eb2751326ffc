/**
 * The front door for programs. What is exported here is stable; everything behind it may change. Nothing prints,
 * reads arguments or ends the process: errors are thrown (`VtpError`, with `code`, `suggestions` and `exitCode`),
 * notes and progress go to the callbacks that are given. docs/api.md has examples.
 *
 * What a function needs is loaded when it is called, so that importing the package costs nothing.
 */
import type { EmbedOptions, EncodeOptions, EncodeSummary } from './api/encode.js'
import type { FidOptions, ProbeOptions, ReconstructionOptions, ZeroShotOptions } from './api/evaluate.js'
import type { GenerateOptions } from './api/generate.js'
import type { OpenIndexOptions, SearchIndex } from './api/search.js'
import type { OpenShardsOptions, Shards } from './api/shards.js'
import type { TrainOptions } from './api/train.js'
import type { GenerateResult } from './generate/job.js'
import type { ClassifyResult } from './metrics/classify/evaluate.js'
import type { CompareResult } from './metrics/fid/request.js'
import type { ProbeResult } from './metrics/probe/request.js'
import type { ReconResult } from './metrics/recon/request.js'
import type { ImageModel } from './model/image-model.js'
import type { OpenModelOptions } from './model/index.js'
import type { TrainResult } from './train/request.js'

export type { EmbedOptions, EncodeOptions, EncodeSummary, PlanOptions } from './api/encode.js'
export type {
  EvaluationOptions,
  FidOptions,
  ProbeOptions,
  ReconstructionOptions,
  ZeroShotOptions,
} from './api/evaluate.js'
export type { GenerateOptions } from './api/generate.js'
export type { OpenIndexOptions, Query, SearchIndex, SearchOptions } from './api/search.js'
export type { OpenShardsOptions, ShardRow, Shards } from './api/shards.js'
export type { TrainOptions } from './api/train.js'
export { EXIT, type ExitCode, VtpError } from './errors.js'
export type { GenerateResult } from './generate/job.js'
export type { ClassifyResult as ZeroShotResult } from './metrics/classify/evaluate.js'
export type { CompareResult as FidResult } from './metrics/fid/request.js'
export type { ProbeResult } from './metrics/probe/request.js'
export type { ReconResult as ReconstructionResult } from './metrics/recon/request.js'
export type { ImageModel, ImageSize, PixelDecoder, TextTower } from './model/image-model.js'
export type { OpenModelOptions } from './model/index.js'
export type { RowFilter } from './retrieval/filters.js'
export type { HitJson as Hit } from './retrieval/hits.js'
export type { TrainResult } from './train/request.js'
export { REJECT_CODES, type RejectCode, type RowMeta, type TensorColumn } from './types.js'

/**
 * Opens a model by folder, file, hub id (`org/name[@revision]`) or `nano`, the bundled one: what it is, which
 * outputs it has, and how its graphs are compiled. Reads headers only. Close it when you are done.
 */
export async function openModel(ref: string, options?: OpenModelOptions): Promise<ImageModel> {
  return (await import('./model/index.js')).openModel(ref, options)
}

/**
 * Encodes a dataset into shards: one row per image, or one reject with its reason. The same options with the same
 * `out` continue an interrupted run. Images that cannot be read do not throw; look at `rejects`.
 */
export async function encode(options: EncodeOptions): Promise<EncodeSummary> {
  return (await import('./api/encode.js')).encode(options)
}

/** Embeds images with CLIP: unit vectors to search, compare and classify with, in the column `clip`. */
export async function embed(options: EmbedOptions): Promise<EncodeSummary> {
  return (await import('./api/encode.js')).embed(options)
}

/**
 * Opens a folder of shards, one shard, or `s3://bucket/prefix`. Iterating yields one object per row, in order,
 * with its tensors as typed arrays; the shards are read batch by batch.
 */
export async function openShards(input: string, options?: OpenShardsOptions): Promise<Shards> {
  return (await import('./api/shards.js')).openShards(input, options)
}

/** Opens an index that `vtp index` has made, for searches by text, image or vector. Close it when you are done. */
export async function openIndex(folder: string, options?: OpenIndexOptions): Promise<SearchIndex> {
  return (await import('./api/search.js')).openIndex(folder, options)
}

/** How well a model reconstructs a dataset: rFID, PSNR, SSIM and LPIPS, with their protocol. */
export async function evaluateReconstruction(options: ReconstructionOptions): Promise<ReconResult> {
  return (await import('./api/evaluate.js')).evaluateReconstruction(options)
}

/** The linear probe: the best of a grid of linear heads on frozen features. */
export async function evaluateProbe(options: ProbeOptions): Promise<ProbeResult> {
  return (await import('./api/evaluate.js')).evaluateProbe(options)
}

/** Zero-shot classification of a labelled dataset: top-1, top-5, every class, the most frequent mistakes. */
export async function evaluateZeroShot(options: ZeroShotOptions): Promise<ClassifyResult> {
  return (await import('./api/evaluate.js')).evaluateZeroShot(options)
}

/** Compares two sets of images: FID, sFID, KID, Inception Score, precision and recall. */
export async function fid(options: FidOptions): Promise<CompareResult> {
  return (await import('./api/evaluate.js')).fid(options)
}

/** Generates images with a LightningDiT and a pixel decoder: PNG files in `out`. The same call continues. */
export async function generate(options: GenerateOptions): Promise<GenerateResult> {
  return (await import('./api/generate.js')).generate(options)
}

/** Trains a LightningDiT on latents: checkpoints, log, samples and report in `out`. The same call continues. */
export async function train(options: TrainOptions): Promise<TrainResult> {
  return (await import('./api/train.js')).train(options)
}
