/** Models: from a folder, a hub id or `nano` to compiled graphs. */
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { usageError } from '../errors.js'
import { compileGraph, type GraphFile } from '../graph/compile.js'
import { defaultCacheDir } from '../io/cache.js'
import type { TensorColumn } from '../types.js'
import { type Checkpoint, openCheckpoint } from './vtp/checkpoint.js'
import type { VtpConfig } from './vtp/config.js'
import { buildDecoder, type DecoderSpec } from './vtp/decoder.js'
import { buildEncoder, type EncoderSpec, encoderColumns } from './vtp/encoder.js'
import { expectedTensors } from './vtp/tensors.js'
import { buildText, type TextSpec } from './vtp/text.js'

export type { GraphFile } from '../graph/compile.js'
export { PRECISIONS, type Precision } from '../graph/precision.js'
export { defaultCacheDir } from '../io/cache.js'
export type { VtpConfig } from './vtp/config.js'
export type { DecoderSpec } from './vtp/decoder.js'
export type { EncoderOutput, EncoderSpec } from './vtp/encoder.js'
export type { TextSpec } from './vtp/text.js'

export interface OpenModelOptions {
  /** Default: `defaultCacheDir()`. */
  cacheDir?: string
  /** Lines for people, e.g. on a download. */
  onNote?: (line: string) => void
  signal?: AbortSignal
}

export interface Model {
  /** How people call it: the folder's name, the hub id, or `vtp-nano`. */
  readonly name: string
  readonly folder: string
  readonly config: VtpConfig
  /** SHA-256 (hex) over configuration and weights. */
  readonly digest: string
  readonly cacheDir: string
  readonly checkpoint: Checkpoint
  close(): Promise<void>
}

/** The folder of the bundled model. */
export function bundledModelFolder(): string {
  return fileURLToPath(new URL('../../models/vtp-nano', import.meta.url))
}

const HUB_ID = /^[\w][\w.-]*\/[\w.-]+(@[\w./-]+)?$/

/** Opens a model by folder, hub id (`org/name[@revision]`) or `nano`. Reads headers only, plus a digest that is cached. */
export async function openModel(ref: string, options: OpenModelOptions = {}): Promise<Model> {
  const cacheDir = options.cacheDir ?? defaultCacheDir()
  const { folder, name } = await resolveModel(ref, options)
  const checkpoint = await openCheckpoint(folder)
  try {
    const digest = await checkpoint.digest(cacheDir)
    return { name, folder, config: checkpoint.config, digest, cacheDir, checkpoint, close: () => checkpoint.close() }
  } catch (error) {
    await checkpoint.close()
    throw error
  }
}

async function resolveModel(ref: string, options: OpenModelOptions): Promise<{ folder: string; name: string }> {
  if (ref === 'nano') return { folder: bundledModelFolder(), name: 'vtp-nano' }
  if (ref.startsWith('s3://')) {
    const { resolveS3Model } = await import('./hub/s3.js')
    const cacheDir = options.cacheDir ?? defaultCacheDir()
    const name = path.posix.basename(ref.replace(/\/+(config\.json|model\.safetensors)?$/, ''))
    return { folder: await resolveS3Model(ref, { cacheDir, onNote: options.onNote }), name }
  }
  const info = await stat(ref).catch(() => undefined)
  if (info?.isDirectory()) return { folder: ref, name: path.basename(path.resolve(ref)) }
  if (info?.isFile() && /(^|[/\\])(model\.safetensors|config\.json)$/.test(ref)) {
    const folder = path.dirname(ref)
    return { folder, name: path.basename(path.resolve(folder)) }
  }
  if (!info && HUB_ID.test(ref) && !ref.startsWith('.')) {
    const { resolveHubModel } = await import('./hub/index.js')
    return { folder: await resolveHubModel(ref, { onProgress: options.onNote, signal: options.signal }), name: ref }
  }
  throw usageError('model_missing', `There is no model at ${ref}`, [
    'give a folder (or s3://bucket/prefix) with config.json and model.safetensors, a hub id such as MiniMaxAI/VTP-Large-f16d64, or nano',
  ])
}

export interface CompileOptions {
  /** Default: the model's. */
  cacheDir?: string
}

/** The image encoder. Input `pixels` uint8 [N,H,W,3] (RGB); outputs named as the columns of a shard. */
export function compileEncoder(model: Model, spec: EncoderSpec, options: CompileOptions = {}): Promise<GraphFile> {
  return compileGraph({
    cacheDir: options.cacheDir ?? model.cacheDir,
    modelDigest: model.digest,
    tower: 'encoder',
    precision: spec.precision,
    spec,
    build: (graph) => buildEncoder(graph, model.config, model.checkpoint.readFloat32, spec),
  })
}

/** The pixel decoder. Input `latents` float32 [N,C,h,w]; output `pixels` uint8 [N,16h,16w,3]. */
export function compileDecoder(model: Model, spec: DecoderSpec, options: CompileOptions = {}): Promise<GraphFile> {
  if (!model.config.train_reconstruction) {
    throw usageError('no_decoder', `The model ${model.name} has no pixel decoder (train_reconstruction is false)`)
  }
  return compileGraph({
    cacheDir: options.cacheDir ?? model.cacheDir,
    modelDigest: model.digest,
    tower: 'decoder',
    precision: spec.precision ?? 'fp32',
    spec,
    build: (graph) => buildDecoder(graph, model.config, model.checkpoint.readFloat32, spec),
  })
}

/** The text tower. Input `ids` int64 [N,L]; output `clip` float32 [N,D], L2-normalised. */
export function compileText(model: Model, spec: TextSpec = {}, options: CompileOptions = {}): Promise<GraphFile> {
  if (!model.config.train_clip) {
    throw usageError('no_text_tower', `The model ${model.name} has no text tower (train_clip is false)`)
  }
  return compileGraph({
    cacheDir: options.cacheDir ?? model.cacheDir,
    modelDigest: model.digest,
    tower: 'text',
    precision: spec.precision ?? 'fp32',
    spec,
    build: (graph) => buildText(graph, model.config, model.checkpoint.readFloat32, spec),
  })
}

/** Every tensor that one pass of the encoder can give for an image of this size, float32. */
export function describeOutputs(
  model: Pick<Model, 'config'>,
  height: number,
  width: number,
  layers: number[] = [],
): TensorColumn[] {
  return encoderColumns(model.config, height, width, layers)
}

export interface ParameterCounts {
  /** `trunk` of the model card. */
  visionEncoder: number
  pixelDecoder: number
  /** `text_transformer` of the model card: the blocks, without embeddings and projection. */
  textEncoder: number
  total: number
}

/** Parameters per tower as the model card counts them (buffers are no parameters). */
export function parameterCounts(config: VtpConfig): ParameterCounts {
  const counts = { visionEncoder: 0, pixelDecoder: 0, textEncoder: 0, total: 0 }
  for (const [name, shape] of expectedTensors(config)) {
    if (name.endsWith('rope_embed.periods')) continue
    const size = shape.reduce((a, b) => a * b, 1)
    counts.total += size
    if (name.startsWith('trunk.')) counts.visionEncoder += size
    else if (name.startsWith('pixel_decoder.')) counts.pixelDecoder += size
    else if (name.startsWith('text_transformer.')) counts.textEncoder += size
  }
  return counts
}

/** exp(logit_scale) and logit_bias, as get_clip_logits uses them. */
export async function readLogitScale(model: Model): Promise<{ scale: number; bias: number }> {
  const [logScale = 0] = await model.checkpoint.readFloat32('logit_scale')
  const bias = model.checkpoint.tensors.has('logit_bias') ? (await model.checkpoint.readFloat32('logit_bias'))[0]! : 0
  return { scale: Math.fround(Math.exp(logScale)), bias }
}
