/**
 * Where a probe's features come from: a model over augmented images (the official protocol), or the shards
 * of `vtp encode`. A row is the CLS tokens of the last blocks, oldest first, then the mean of the last
 * block's patch tokens.
 */

import { createLimiter } from '../../async/stages.js'
import type { Device } from '../../engine/device.js'
import { openImageEncoder } from '../../engine/image-encoder.js'
import { usageError } from '../../errors.js'
import { openPixelPool } from '../../image/pool/pool.js'
import type { View } from '../../image/pool/views.js'
import { parseTransform } from '../../image/transform.js'
import { findShards, openShard } from '../../io/shards/index.js'
import { float16ToFloat32 } from '../../math/half.js'
import type { EncoderSpec, ImageModel, ImageSize, Precision } from '../../model/index.js'
import { countRejects, type RejectCounts } from '../../pipeline/ledger/rejects.js'
import { readEntryPixels } from '../../pipeline/stream/entry-pixels.js'
import type { TensorData } from '../../types.js'
import { createFeatureFile, type FeatureFile, type TemporaryFeatureFile } from '../fid/feature-file.js'
import { stampFiles } from '../pass/stamp.js'
import type { ListingIndex } from './listing-index.js'

/** Width of the vector that stands for an image (a CLS token, a pooled vector), and how many of them a row has. */
export interface FeatureLayout {
  dim: number
  blocks: number
  /** What that vector is. */
  vector: 'CLS' | 'pooled vector'
  /** Whether the mean of the patch tokens follows. */
  patches: boolean
}

export const rowWidth = ({ dim, blocks, patches }: FeatureLayout): number => dim * (blocks + (patches ? 1 : 0))

/** The input of heads that read the last `blocks` CLS tokens (and the patch mean) of rows. */
export function selectInput(rows: Float32Array, layout: FeatureLayout, blocks: number, avgpool: boolean): Float32Array {
  const width = rowWidth(layout)
  const start = (layout.blocks - blocks) * layout.dim
  const end = (layout.blocks + (avgpool ? 1 : 0)) * layout.dim
  if (start === 0 && end === width) return rows
  const count = rows.length / width
  const out = new Float32Array(count * (end - start))
  for (let i = 0; i < count; i++) out.set(rows.subarray(i * width + start, i * width + end), i * (end - start))
  return out
}

/** Rows in memory for one batch; images that cannot be read are left out. */
export interface FeatureBatch {
  rows: Float32Array
  labels: Int32Array
  /** Images of the batch that could not be read; they have no row. */
  rejects: RejectCounts
}

/** Runs the frozen model over images. */
export interface ImageFeatures {
  readonly layout: FeatureLayout
  /** Side of the augmented crops, and the transform of the evaluation's. */
  readonly size: number
  readonly evaluation: string
  /** Features of entries of the listing; `draws[i]` seeds the augmentation of the i-th, undefined: the evaluation's crop. */
  batch(listing: ListingIndex, indices: number[], draws?: number[]): Promise<FeatureBatch>
  close(): Promise<void>
}

export interface ImageFeatureOptions {
  blocks: number
  cacheDir?: string
  precision: Precision
  device: Device
  /** Images of the largest run. */
  batchSize: number
  maxPixels: number
}

export async function openImageFeatures(model: ImageModel, options: ImageFeatureOptions): Promise<ImageFeatures> {
  const evaluated = parseTransform(model.transform('probe'))
  const reads = probeReads(model, evaluated, options.blocks)
  const encoder = await openImageEncoder(model, {
    device: options.device,
    size: evaluated,
    outputs: reads.outputs,
    layers: reads.layers,
    precision: options.precision,
    images: options.batchSize,
  })
  const layout: FeatureLayout = {
    dim: reads.dim,
    blocks: reads.vectors.length,
    vector: model.probed?.output === 'pooled' ? 'pooled vector' : 'CLS',
    patches: reads.patches !== undefined,
  }
  const pool = openPixelPool(options.device.cores)
  const limits = { maxPixels: options.maxPixels, timeoutMs: 60_000 }
  const limit = createLimiter(options.device.cores * 2 + 4)
  const bytes = evaluated.height * evaluated.width * 3
  const load = async (listing: ListingIndex, index: number, draw: number | undefined) => {
    const entry = await listing.entry(index)
    const view: View =
      draw === undefined
        ? { kind: 'transform', spec: evaluated.spec }
        : { kind: 'augmented', size: evaluated.height, seed: draw }
    const read = await readEntryPixels(listing.source, pool, entry, { views: [view], limits })
    return 'reject' in read ? read : { data: read.pictures[0]!.data, label: entry.label! }
  }
  return {
    layout,
    size: evaluated.height,
    evaluation: evaluated.spec,
    async batch(listing, indices, draws) {
      const loaded = await Promise.all(indices.map((index, i) => limit(() => load(listing, index, draws?.[i]))))
      const images = loaded.flatMap((image) => ('reject' in image ? [] : [image]))
      const rejects = countRejects(loaded.flatMap((image) => ('reject' in image ? [image.reject] : [])))
      if (images.length === 0) return { rows: new Float32Array(), labels: new Int32Array(), rejects }
      const data = new Uint8Array(images.length * bytes)
      for (const [i, image] of images.entries()) data.set(image.data, i * bytes)
      const fetches = [...reads.vectors, ...(reads.patches === undefined ? [] : [reads.patches])]
      const { tensors } = await encoder.encode(data, images.length, fetches)
      const floats = (name: string): Float32Array => tensors[name] as Float32Array
      const patches = reads.patches === undefined ? undefined : floats(reads.patches)
      return {
        rows: joinRows(reads.vectors.map(floats), patches, images.length, layout.dim),
        labels: Int32Array.from(images, (image) => image.label),
        rejects,
      }
    },
    async close() {
      await pool.close()
      await encoder.close()
    },
  }
}

interface ProbeReads {
  outputs: EncoderSpec['outputs']
  layers: number[]
  /** Outputs that stand for an image, oldest first. */
  vectors: string[]
  /** Output whose mean follows them. */
  patches: string | undefined
  dim: number
}

/** The last blocks' cls tokens; of a model without them its one pooled vector. Throws a usage error where neither is. */
function probeReads(model: ImageModel, size: ImageSize, blocks: number): ProbeReads {
  const { depth, probed } = model
  if (probed === undefined) {
    throw usageError('no_features', `The model ${model.name} has no vector that stands for an image`, [
      'probe a model that has cls or clip; of a RAE, the encoder that its YAML names',
    ])
  }
  const { output, dim } = probed
  if (output === 'pooled') {
    const width = model
      .outputs(size)
      .find(({ name }) => name === 'patches')
      ?.shape.at(-1)
    const patches = width === dim ? 'patches' : undefined
    return { outputs: patches ? ['pooled', 'patches'] : ['pooled'], layers: [], vectors: ['pooled'], patches, dim }
  }
  const layers = Array.from({ length: Math.min(blocks, depth) }, (_, i) => depth - Math.min(blocks, depth) + i)
  const vectors = layers.map((k) => `layer_${k}_cls`)
  return { outputs: ['layers'], layers, vectors, patches: `layer_${layers.at(-1)}_patches`, dim }
}

/** [N, dim] of every block and [N, L, dim] of the patches → rows. */
function joinRows(cls: Float32Array[], patches: Float32Array | undefined, count: number, dim: number): Float32Array {
  const width = dim * (cls.length + (patches ? 1 : 0))
  const out = new Float32Array(count * width)
  for (let i = 0; i < count; i++) {
    for (const [b, values] of cls.entries()) out.set(values.subarray(i * dim, (i + 1) * dim), i * width + b * dim)
    if (!patches) continue
    const length = patches.length / count / dim
    const sums = new Float64Array(dim)
    for (let t = 0; t < length; t++) {
      const at = (i * length + t) * dim
      for (let c = 0; c < dim; c++) sums[c]! += patches[at + c]!
    }
    for (let c = 0; c < dim; c++) out[i * width + cls.length * dim + c] = sums[c]! / length
  }
  return out
}

/** Features of a set of shards on disk, with their labels. */
export interface StoredFeatures {
  layout: FeatureLayout
  file: FeatureFile
  labels: Int32Array
  /** Digest of the model that made them, where the shards say. */
  modelDigest?: string
  modelName?: string
  /** Transform, precision and element type, as far as the shards say. */
  made: string
  /** Changes with the files themselves. */
  stamp: string
  close(): Promise<void>
}

/** Collects what a probe needs from shards, of the first `limit` rows: `layer_<k>_cls` and patches, or `cls` and `patches` of the last block. */
export async function openStoredFeatures(input: string, blocks: number, limit?: number): Promise<StoredFeatures> {
  let file: TemporaryFeatureFile | undefined
  let layout: FeatureLayout | undefined
  let provenance: Record<string, string> = {}
  let dtype: string | undefined
  const labels: number[] = []
  try {
    const files = await findShards(input)
    for (const path of files) {
      const shard = await openShard(path)
      try {
        provenance = shard.provenance
        const plan = columnsOf(
          shard.columns.map((c) => c.name),
          blocks,
          path,
        )
        const column = shard.columns.find((c) => c.name === plan.cls[0])!
        const dim = column.shape[0]!
        dtype = column.dtype
        layout ??= { dim, blocks: plan.cls.length, vector: 'CLS', patches: plan.patches !== undefined }
        file ??= await createFeatureFile(rowWidth(layout))
        const wanted = [...plan.cls, ...(plan.patches ? [plan.patches] : [])]
        for await (const { rows, tensors } of shard.read(wanted, 256)) {
          const floats = (name: string): Float32Array => toFloats(tensors[name]!)
          const width = rowWidth(layout)
          const joined = joinRows(
            plan.cls.map(floats),
            plan.patches ? floats(plan.patches) : undefined,
            rows.length,
            dim,
          )
          const kept = Math.min(rows.length, (limit ?? Number.POSITIVE_INFINITY) - labels.length)
          await file.append(joined.subarray(0, kept * width))
          for (const row of rows.slice(0, kept)) {
            if (row.label === null)
              throw usageError('no_label', `${path}: the row ${row.key} has no label`, ['encode a source with classes'])
            labels.push(row.label)
          }
          if (labels.length === limit) break
        }
      } finally {
        await shard.close()
      }
      if (labels.length === limit) break
    }
    const { 'vtp.model_digest': modelDigest, 'vtp.model': modelName } = provenance
    return {
      layout: layout!,
      file: file!,
      labels: Int32Array.from(labels),
      modelDigest,
      modelName,
      made: [
        provenance['vtp.transform'] ?? 'unknown transform',
        provenance['vtp.precision'] ? `encoder ${provenance['vtp.precision']}` : 'unknown precision',
        `stored as ${dtype}`,
      ].join(', '),
      stamp: await stampFiles(files),
      close: () => file!.close(),
    }
  } catch (error) {
    await file?.close()
    throw error
  }
}

function columnsOf(names: string[], blocks: number, file: string): { cls: string[]; patches?: string } {
  const layers = names
    .map((name) => /^layer_(\d+)_cls$/.exec(name)?.[1])
    .filter((k) => k !== undefined)
    .sort((a, b) => Number(a) - Number(b))
    .slice(-blocks)
  const has = (name: string): string | undefined => (names.includes(name) ? name : undefined)
  if (layers.length > 0)
    return { cls: layers.map((k) => `layer_${k}_cls`), patches: has(`layer_${layers.at(-1)}_patches`) }
  if (names.includes('cls')) return { cls: ['cls'], patches: has('patches') }
  throw usageError('no_features', `${file} has no columns for a probe (it has ${names.join(', ')})`, [
    'encode with --outputs layers --layers 4, or with --outputs cls,patches',
  ])
}

function toFloats(data: TensorData): Float32Array {
  return data instanceof Uint16Array
    ? float16ToFloat32(data)
    : data instanceof Float32Array
      ? data
      : Float32Array.from(data)
}
