/**
 * A quick look at what a model's outputs know of classes, for a training that is under way: ridge regression in closed
 * form on the bottleneck latents, and on CLS with the mean patch token, from one pass over each set.
 */
import type { Device } from '../../engine/device.js'
import { openImageEncoder } from '../../engine/image-encoder.js'
import { usageError } from '../../errors.js'
import { type ImageModel, openModel, type Precision } from '../../model/index.js'
import { createFeatureFile, type TemporaryFeatureFile } from '../fid/feature-file.js'
import { openMatrixProducts } from '../linalg/matmul.js'
import { storeListing } from '../pass/listing.js'
import { openPreparedSet } from '../pass/prepared-set.js'
import { type LabelledRows, ridgeProbe } from './closed-form.js'

export interface RidgeRequest {
  train: string
  val: string
  model: string
  transform: string
  device: Device
  precision: Precision
  cacheDir: string
  batchSize: number
  /** Images of each set. */
  limit?: number
  maxPixels: number
  stop?: AbortSignal
}

export interface RidgeOutcome {
  /** Top-1 in percent with the best strength; null where the model lacks the output. */
  latents: number | null
  features: number | null
  train: number
  val: number
}

type Kind = 'latents' | 'features'
type Sets = Partial<Record<Kind, LabelledRows>>
type Closers = (() => Promise<unknown>)[]

/** Latents above this many numbers are averaged over their grid: the regression is cubic in them. */
export const MOST_LATENTS = 2048

/** Throws usage error `no_label` where an image has no class. */
export async function evaluateRidge(request: RidgeRequest): Promise<RidgeOutcome> {
  const closers: Closers = []
  try {
    const model = await openModel(request.model, { cacheDir: request.cacheDir, signal: request.stop })
    closers.push(() => model.close())
    const train = await readFeatures(model, request.train, request, closers)
    const val = await readFeatures(model, request.val, request, closers)
    const products = await openMatrixProducts(request.cacheDir, request.device.cores)
    closers.push(() => products.close())
    const labels = (Object.values(train)[0] as LabelledRows).labels
    const classes = labels.reduce((most, label) => Math.max(most, label), 0) + 1
    const top1 = async (kind: Kind): Promise<number | null> =>
      train[kind] && val[kind] ? (await ridgeProbe(train[kind], val[kind], classes, products)).best : null
    const outcome = { latents: await top1('latents'), features: await top1('features') }
    return { ...outcome, train: labels.length, val: (Object.values(val)[0] as LabelledRows).labels.length }
  } finally {
    for (const close of closers.reverse()) await close().catch(() => {})
  }
}

async function readFeatures(model: ImageModel, source: string, request: RidgeRequest, closers: Closers): Promise<Sets> {
  const { device, precision, transform, batchSize, limit, maxPixels, stop } = request
  const listing = await storeListing(source, { limit, signal: stop })
  closers.push(() => listing.close())
  const set = await openPreparedSet(listing, { transform, batchSize, threads: device.cores, maxPixels })
  closers.push(() => set.close())
  const size = set.transform
  const names = model.outputs(size).map(({ name }) => name)
  const outputs = (['latents', 'cls', 'patches'] as const).filter((name) => names.includes(name))
  const encoder = await openImageEncoder(model, { device, precision, size, outputs, images: batchSize })
  closers.push(() => encoder.close())
  const labels: number[] = []
  const files: Partial<Record<Kind, TemporaryFeatureFile>> = {}
  const append = async (kind: Kind, rows: Float32Array, count: number): Promise<void> => {
    let file = files[kind]
    if (!file) {
      const made = await createFeatureFile(rows.length / count)
      file = files[kind] = made
      closers.push(() => made.close())
    }
    await file.append(rows)
  }
  for await (const batch of set.batches(0)) {
    stop?.throwIfAborted()
    if (batch.count > 0) {
      const { tensors } = await encoder.encode(batch.data as Uint8Array, batch.count)
      const of = (name: string): Float32Array => tensors[name] as Float32Array
      if (names.includes('latents'))
        await append('latents', latentRows(of('latents'), batch.count, encoder), batch.count)
      if (names.includes('cls') && names.includes('patches'))
        await append('features', featureRows(of('cls'), of('patches'), batch.count), batch.count)
      for (const { label, uri } of batch.entries) {
        if (label === undefined)
          throw usageError('no_label', `${uri} has no label`, ['give class folders, or a list with labels'])
        labels.push(label)
      }
    }
    batch.release()
  }
  const sets: Sets = {}
  for (const [kind, file] of Object.entries(files) as [Kind, TemporaryFeatureFile][])
    sets[kind] = {
      file,
      labels: Int32Array.from(labels),
      layout: { dim: file.dims, blocks: 1, vector: 'pooled vector', patches: false },
    }
  return sets
}

function latentRows(
  values: Float32Array,
  count: number,
  encoder: { shapes: ReadonlyMap<string, number[]> },
): Float32Array {
  const width = values.length / count
  if (width <= MOST_LATENTS) return values
  const [channels = 1] = encoder.shapes.get('latents')!
  const places = width / channels
  return Float32Array.from({ length: count * channels }, (_, i) => {
    const from = i * places
    return values.subarray(from, from + places).reduce((sum, value) => sum + value, 0) / places
  })
}

/** CLS [count, D] and the mean of the patch tokens [count, N, D], side by side. */
function featureRows(cls: Float32Array, patches: Float32Array, count: number): Float32Array {
  const dim = cls.length / count
  const tokens = patches.length / cls.length
  const out = new Float32Array(count * 2 * dim)
  for (let i = 0; i < count; i++) {
    out.set(cls.subarray(i * dim, (i + 1) * dim), i * 2 * dim)
    for (let t = 0; t < tokens; t++)
      for (let d = 0; d < dim; d++) out[i * 2 * dim + dim + d]! += patches[(i * tokens + t) * dim + d]! / tokens
  }
  return out
}
