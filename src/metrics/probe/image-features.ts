/** A probe's features from a model over augmented images (the official protocol). */
import { createLimiter } from '../../async/stages.js'
import type { Device } from '../../engine/device.js'
import { openImageEncoder } from '../../engine/image-encoder.js'
import { usageError } from '../../errors.js'
import { openPixelPool } from '../../image/pool/pool.js'
import type { View } from '../../image/pool/views.js'
import { parseTransform } from '../../image/transform.js'
import type { EncoderSpec, ImageModel, ImageSize, Precision } from '../../model/index.js'
import { countRejects } from '../../pipeline/ledger/rejects.js'
import { readEntryPixels } from '../../pipeline/stream/entry-pixels.js'
import { type FeatureBatch, type FeatureLayout, joinRows } from './layout.js'
import type { ListingIndex } from './listing-index.js'

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
