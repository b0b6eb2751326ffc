/** The images of a pre-training: a listed source with captions, opened and checked against recipe and model. */
import { createHash } from 'node:crypto'
import { usageError } from '../errors.js'
import { openPixelPool } from '../image/pool/pool.js'
import type { FieldNames } from '../io/sources/options.js'
import { openListingIndex } from '../metrics/probe/listing-index.js'
import type { VtpConfig } from '../model/vtp/config.js'
import { type BatchPlan, planBatch } from './batch-plan.js'
import { BatchReader, type BatchReaderOptions, type PretrainBatch } from './batch-reader.js'
import { type CaptionOptions, openCaptions } from './captions.js'
import type { PretrainRecipe } from './recipe.js'
import type { Shapes } from './state.js'

export interface DataOptions extends CaptionOptions, BatchReaderOptions {
  source: string
  /** Preprocessing threads. */
  workers: number
  limit?: number
  fields?: FieldNames
  stdin?: AsyncIterable<Uint8Array>
}

export interface PretrainData {
  readonly plan: BatchPlan
  /** Images of an epoch. */
  readonly rows: number
  readonly uri: string
  /** SHA-256 (hex) of keys, labels and captions. */
  readonly digest: string
  /** Where captions come from; undefined without the contrastive loss. */
  readonly captions: string | undefined
  /** Shapes of every batch's tensors. */
  readonly shapes: Shapes
  /** The batch of a step, from 1. */
  read(step: number): Promise<PretrainBatch>
  close(): Promise<void>
}

/** What brings a batch down to `count` images. Losses that compare images need two. */
function smallerBatches({ clip, ssl, rec }: BatchPlan, count: number): string {
  if (count < 2) return 'give more images'
  const large = Object.entries({ clip, ssl, rec }).filter(([, images]) => images > count)
  return `give more images, or smaller batches: ${large.map(([name]) => `--set config.batch.${name}=${count}`).join(' ')}`
}

/** Lists the source and checks it. Throws usage errors `no_images`, `too_few_images`, `captions_missing`. */
export async function openPretrainData(
  recipe: PretrainRecipe,
  model: VtpConfig,
  options: DataOptions,
): Promise<PretrainData> {
  const plan = planBatch(recipe, model)
  const { source: spec, limit, fields, stdin, stop, onNote } = options
  const index = await openListingIndex(spec, { limit, fields, stdin, signal: stop, onNote, unlabelled: true })
  try {
    if (index.count < plan.images)
      throw usageError('too_few_images', `${spec} has ${index.count} images; a batch has ${plan.images}`, [
        smallerBatches(plan, index.count),
      ])
    const captions = plan.clip > 0 ? await openCaptions(index, model, options) : undefined
    const pool = openPixelPool(options.workers)
    const reader = new BatchReader({ recipe, plan, index, captions, pool, options })
    const shapes = new Map<string, readonly number[]>(plan.shapes)
    if (captions) shapes.set('tokens', [plan.clip, captions.length])
    return {
      ...{ plan, rows: index.count, uri: index.source.uri, shapes, captions: captions?.description },
      digest: createHash('sha256')
        .update(JSON.stringify([index.digest, captions?.digest ?? null]))
        .digest('hex'),
      read: (step) => reader.read(step),
      async close() {
        await Promise.allSettled([pool.close(), index.close()])
      },
    }
  } catch (error) {
    await index.close()
    throw error
  }
}
