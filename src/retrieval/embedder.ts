/** Queries → unit vectors, with the model and the preprocessing that made the index. */
import { cpuDevice, type Device } from '../engine/device.js'
import { type ImageEncoder, openImageEncoder } from '../engine/image-encoder.js'
import { openTextEncoder, type TextEncoder } from '../engine/text-encoder.js'
import { usageError } from '../errors.js'
import { onePicture, openPixelPool, type PixelPool } from '../image/pool/pool.js'
import { parsePixelTransform } from '../image/transform.js'
import { assertOutput, type ImageModel, openModel, type Precision } from '../model/index.js'
import type { Manifest } from './manifest.js'

export interface EmbedderOptions {
  /** Folder, hub id or nano. */
  model: string
  /** Spec of the preprocessing; default resize to the model's size. */
  transform?: string
  /** Default: one thread of the CPU. */
  device?: Device
  /** Arithmetic of both towers. Default: the device's. */
  precision?: Precision
  cacheDir?: string
  onNote?: (line: string) => void
}

export interface Embedder {
  readonly model: ImageModel
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
  try {
    assertOutput(model, 'clip')
  } catch (error) {
    await model.close()
    throw error
  }
  const transform = parsePixelTransform(options.transform ?? model.transform('encode'))
  const { device = cpuDevice({ cores: 1 }), precision = device.precision } = options
  let text: Promise<TextEncoder> | undefined
  let vision: Promise<ImageEncoder> | undefined
  // One thread: a query is one image, and whoever waits for it may have others to answer.
  let pool: PixelPool | undefined
  return {
    model,
    dim: model.outputs(transform).find(({ name }) => name === 'clip')!.shape[0]!,
    async texts(texts) {
      text ??= openTextEncoder(model, { device, precision })
      return (await text).encode(texts)
    },
    async image(bytes, maxPixels = 100_000_000) {
      vision ??= openImageEncoder(model, { device, precision, size: transform, outputs: ['clip'], batchSize: 1 })
      pool ??= openPixelPool(1)
      const view = { kind: 'transform', spec: transform.spec } as const
      const { data } = await onePicture(pool, bytes, view, { maxPixels, timeoutMs: 30_000 })
      const { tensors } = await (await vision).encode(data as Uint8Array, 1)
      return tensors.clip as Float32Array
    },
    async close() {
      const opened = await Promise.allSettled([text, vision])
      await Promise.allSettled(opened.map((r) => (r.status === 'fulfilled' ? r.value?.close() : undefined)))
      await pool?.close()
      await model.close()
    },
  }
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
