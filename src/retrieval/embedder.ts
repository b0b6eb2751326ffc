/** Queries → unit vectors, with the model and the preprocessing that made the index. */
import { openSession, type Session } from '../engine/session.js'
import { openTextEncoder, type TextEncoder } from '../engine/text-encoder.js'
import { usageError } from '../errors.js'
import { onePicture, openPixelPool, type PixelPool } from '../image/pool/pool.js'
import { parseTransform, type Transform } from '../image/transform.js'
import { compileEncoder, type EncoderSpec, type Model, openModel, type Precision } from '../model/index.js'
import type { Manifest } from './manifest.js'

export interface EmbedderOptions {
  /** Folder, hub id or nano. */
  model: string
  /** Spec of the preprocessing; default resize to the model's size. */
  transform?: string
  providers?: string[]
  threads?: number
  /** Arithmetic of both towers. Default: fp32. */
  precision?: Precision
  /** Kind of device that the providers are of. Default: cpu. */
  device?: string
  cacheDir?: string
  onNote?: (line: string) => void
}

export interface Embedder {
  readonly model: Model
  readonly dim: number
  /** float32 [texts, dim] */
  texts(texts: readonly string[]): Promise<Float32Array>
  /** Of one encoded image (JPEG, PNG, …), float32 [dim]. Throws RejectError for what is no image. */
  image(bytes: Uint8Array, maxPixels?: number): Promise<Float32Array>
  close(): Promise<void>
}

/** Opens the model; its towers are opened when first needed. */
export async function openEmbedder(options: EmbedderOptions): Promise<Embedder> {
  const model = await openModel(options.model, { cacheDir: options.cacheDir, onNote: options.onNote })
  const { image_size: size, text_embed_dim: dim, train_clip } = model.config
  if (!train_clip) {
    await model.close()
    throw usageError('no_clip', `The model ${model.name} has no CLIP head (train_clip is false)`)
  }
  const transform = parseTransform(options.transform ?? `resize(${size},${size},bilinear)`)
  const { providers = ['cpu'], threads = 1, precision = 'fp32', device = 'cpu', cacheDir } = options
  let text: Promise<TextEncoder> | undefined
  let vision: Promise<Session> | undefined
  // One thread: a query is one image, and whoever waits for it may have others to answer.
  let pool: PixelPool | undefined
  return {
    model,
    dim,
    async texts(texts) {
      text ??= openTextEncoder(model, { providers, threads, precision, cacheDir })
      return (await text).encode(texts)
    },
    async image(bytes, maxPixels = 100_000_000) {
      vision ??= openVision(model, transform, { providers, threads, precision, device, cacheDir })
      pool ??= openPixelPool(1)
      const view = { kind: 'transform', spec: transform.spec } as const
      const { data } = await onePicture(pool, bytes, view, { maxPixels, timeoutMs: 30_000 })
      const pixels = { data, dtype: 'uint8', dims: [1, transform.height, transform.width, 3] }
      const { outputs } = await (await vision).run({ pixels }, ['clip'])
      return outputs.clip!.data as Float32Array
    },
    async close() {
      const opened = await Promise.allSettled([text, vision])
      await Promise.allSettled(opened.map((r) => (r.status === 'fulfilled' ? r.value?.close() : undefined)))
      await pool?.close()
      await model.close()
    },
  }
}

async function openVision(
  model: Model,
  { height, width }: Transform,
  options: { providers: string[]; threads: number; precision: Precision; device: string; cacheDir?: string },
): Promise<Session> {
  const { precision, device } = options
  const towers: Pick<EncoderSpec, 'outputs' | 'layers' | 'layersNorm'> = {
    outputs: ['clip'],
    layers: [],
    layersNorm: true,
  }
  const graph = await compileEncoder(model, { height, width, ...towers, dtype: 'float32', precision, device }, options)
  return openSession({ path: graph.path, providers: options.providers, threads: options.threads })
}

/** Where the model of an index is: as the user says, as the index says, or by its name. */
export function indexModelRef(manifest: Manifest, given: string | undefined): string {
  if (given) return given
  const { model } = manifest
  if (model?.ref) return model.ref
  if (model?.name === 'vtp-nano') return 'nano'
  if (model?.name.includes('/')) return model.name
  throw usageError(
    'which_model',
    model
      ? `The index was made with the model "${model.name}", but not where that is`
      : 'The index does not say which model made it',
    ['give --model FOLDER or a hub id', 'build the index with --model, and searches will find it'],
  )
}

/** Opens the embedder of an index. Throws a usage error when the model is another one. */
export async function openIndexEmbedder(
  manifest: Manifest,
  options: Omit<EmbedderOptions, 'model' | 'transform'> & { model?: string },
): Promise<Embedder> {
  const model = indexModelRef(manifest, options.model)
  const embedder = await openEmbedder({ ...options, model, transform: manifest.transform ?? undefined })
  const wrong =
    embedder.dim !== manifest.dim
      ? `it gives ${embedder.dim} dimensions, the index has ${manifest.dim}`
      : manifest.model && manifest.model.digest !== embedder.model.digest
        ? `its weights are not those of ${manifest.model.name}, which made the index`
        : undefined
  if (!wrong) return embedder
  await embedder.close()
  throw usageError('other_model', `The model ${embedder.model.name} does not fit the index: ${wrong}`, [
    'give the model that embedded the images with --model',
  ])
}

/** The weighted sum of unit vectors as a unit vector. Throws a usage error when nothing is left of it. */
export function combineQueries(vectors: readonly Float32Array[], weights: readonly number[]): Float32Array {
  const out = new Float32Array(vectors[0]!.length)
  vectors.forEach((vector, v) => {
    for (let i = 0; i < out.length; i++) out[i] = out[i]! + vector[i]! * weights[v]!
  })
  const norm = Math.hypot(...out)
  if (!(norm > 1e-6)) throw usageError('empty_query', 'The weighted queries cancel each other', ['change --weights'])
  return out.map((value) => value / norm)
}
