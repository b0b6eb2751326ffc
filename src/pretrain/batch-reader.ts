/**
 * Batches from images. Every draw is a function of (seed, step, sample, view), and the order of images one of (seed,
 * epoch), so that a batch depends on nothing that came before it. Views are made in the pixel service's threads.
 *
 * An image that cannot be read is replaced by the next one of the listing that can: a function of the data alone.
 * Where none of a batch can be read, the run ends.
 */
import { createLimiter } from '../async/stages.js'
import { VtpError } from '../errors.js'
import type { PixelPool, PixelResult } from '../image/pool/pool.js'
import { drawsAt } from '../math/draws.js'
import { IMAGE_TIMEOUT_MS } from '../metrics/pass/image-set.js'
import type { ListingIndex } from '../metrics/probe/listing-index.js'
import { readEntryPixels } from '../pipeline/stream/entry-pixels.js'
import { createPermutation, type Permutation } from '../train/permutation.js'
import type { ListingEntry, Reject } from '../types.js'
import { type BatchPlan, CAPTION_VIEW } from './batch-plan.js'
import type { Captions } from './captions.js'
import type { BatchTensor, JointBatch } from './joint.js'
import { type CropMasks, cropMasks } from './masks.js'
import type { PretrainRecipe } from './recipe.js'

export interface PretrainBatch {
  tensors: JointBatch
  /** Images that were replaced, those that stood in and failed included. */
  rejects: Reject[]
}

export interface BatchReaderOptions {
  seed: number
  maxPixels: number
  stop?: AbortSignal
  onNote?: (line: string) => void
}

export interface BatchReaderParts {
  recipe: PretrainRecipe
  plan: BatchPlan
  index: ListingIndex
  captions: Captions | undefined
  pool: PixelPool
  options: BatchReaderOptions
}

/** "Samples" of a step that are none: its masks, and the rows that stochastic depth keeps. */
const [MASKS, KEPT] = [0xffff_fffe, 0xffff_ffff]
/** Images that may stand in for one. */
const REPLACEMENTS = 16

/** A sample of a batch: the image that was read for it. */
interface Sample {
  entry: ListingEntry
  result: PixelResult
  rejects: Reject[]
}

export class BatchReader {
  private readonly parts: BatchReaderParts
  private readonly limit
  private order: { epoch: number; permutation: Permutation } | undefined
  private toldSmall = false

  constructor(parts: BatchReaderParts) {
    this.parts = parts
    this.limit = createLimiter(parts.pool.capacity)
  }

  /** The batch of a step, from 1. Throws VtpError `batch_unreadable`. */
  async read(step: number): Promise<PretrainBatch> {
    const { plan } = this.parts
    const tensors = new Map<string, BatchTensor>()
    for (const [name, dims] of plan.shapes) {
      if (name.endsWith('_u8'))
        tensors.set(name, { type: 'uint8', dims, data: new Uint8Array(dims.reduce((a, b) => a * b, 1)) })
    }
    const samples = await Promise.all(
      Array.from({ length: plan.images }, (_, sample) => this.limit(() => this.sample(step, sample, tensors))),
    )
    const rejects = samples.flatMap((sample) => sample.rejects)
    if (plan.images > 1 && samples.every((sample) => sample.rejects.length > 0))
      throw unreadable(step, `none of the ${plan.images} images could be read`, rejects[0]!)
    this.tellSmall(samples)
    if (plan.clip > 0) this.addCaptions(step, samples, tensors)
    if (plan.ssl > 0) addMasks(this.masks(step), plan, tensors)
    this.addKept(step, tensors)
    return { tensors, rejects }
  }

  /** Row of the listing of a sample; counted over the whole training, every epoch in an order of its own. */
  private rowOf(step: number, sample: number): number {
    const { index, options, plan } = this.parts
    const number = (step - 1) * plan.images + sample
    const epoch = Math.floor(number / index.count)
    if (this.order?.epoch !== epoch)
      this.order = { epoch, permutation: createPermutation(index.count, options.seed, epoch) }
    return this.order.permutation.at(number % index.count)
  }

  private async sample(step: number, sample: number, tensors: Map<string, BatchTensor>): Promise<Sample> {
    const { plan, index, pool, options } = this.parts
    const row = this.rowOf(step, sample)
    const planned = plan.viewsOf(sample)
    const { seed, maxPixels, stop } = options
    const views = planned.map(({ law, view }) => ({
      kind: 'drawn' as const,
      law,
      place: { seed, step, sample, view },
    }))
    const rejects: Reject[] = []
    for (let attempt = 0; attempt < Math.min(REPLACEMENTS, index.count); attempt++) {
      const entry = await index.entry((row + attempt) % index.count)
      const limits = { maxPixels, timeoutMs: IMAGE_TIMEOUT_MS }
      const result = await readEntryPixels(index.source, pool, entry, { views, limits, stop })
      if ('reject' in result) {
        rejects.push(result.reject)
        continue
      }
      planned.forEach(({ tensor, row: at }, i) => {
        const picture = result.pictures[i]!.data as Uint8Array
        ;(tensors.get(tensor)!.data as Uint8Array).set(picture, at * picture.length)
      })
      return { entry, result, rejects }
    }
    throw unreadable(step, `${rejects.length} images in a row could not be read`, rejects[0]!)
  }

  /** Said once: enlarged images have no detail to learn from. */
  private tellSmall(samples: readonly Sample[]): void {
    const { recipe, options } = this.parts
    const side = recipe.config.image_size
    const small = samples.find(({ result }) => Math.min(result.width, result.height) < side)
    if (!small || this.toldSmall) return
    this.toldSmall = true
    const { width, height } = small.result
    options.onNote?.(
      `Images smaller than ${side} × ${side} are enlarged, for example ${small.entry.uri} (${width} × ${height}).`,
    )
  }

  private addCaptions(step: number, samples: readonly Sample[], tensors: Map<string, BatchTensor>): void {
    const { plan, recipe, options } = this.parts
    const captions = this.parts.captions!
    const { seed } = options
    const texts = samples
      .slice(0, plan.clip)
      .map(({ entry }, sample) => captions.of(entry, drawsAt({ seed, step, sample, view: CAPTION_VIEW })))
    const isDistinct = recipe.config.identical_captions === 'positives'
    const given = isDistinct ? [...new Set(texts)] : texts
    tensors.set('tokens', { type: 'int64', data: captions.tokens(given), dims: [given.length, captions.length] })
    if (!isDistinct) return
    const [images, distinct] = [texts.length, given.length]
    const count = (text: string): number => texts.filter((other) => other === text).length
    const matrix = (weight: (text: string) => number): BatchTensor => {
      const data = new Float32Array(images * distinct)
      texts.forEach((text, image) => {
        data[image * distinct + given.indexOf(text)] = weight(text)
      })
      return { type: 'float32', data, dims: [images, distinct] }
    }
    tensors.set(
      'caption_matches.by_image',
      matrix(() => 1 / images),
    )
    tensors.set(
      'caption_matches.by_caption',
      matrix((text) => 1 / (distinct * count(text))),
    )
  }

  /** Drawn anew until a patch is masked: in small grids a share may come out as none. */
  private masks(step: number): CropMasks {
    const { plan, recipe, options } = this.parts
    for (let view = 0; ; view++) {
      const draws = drawsAt({ seed: options.seed, step, sample: MASKS, view })
      const found = cropMasks(2 * plan.ssl, { h: plan.grid, w: plan.grid }, recipe.config.masks, draws)
      if (found.indices.length > 0) return found
      if (view === REPLACEMENTS)
        throw new VtpError(`No patch of ${plan.grid} × ${plan.grid} could be masked`, {
          code: 'no_masks',
          exitCode: 2,
          suggestions: [
            'lower config.masks.least, raise config.masks.ratio, or give larger crops (config.global_size)',
          ],
        })
    }
  }

  private addKept(step: number, tensors: Map<string, BatchTensor>): void {
    const { plan, options } = this.parts
    let view = 0
    for (const [name, [kept]] of plan.shapes) {
      if (!name.startsWith('keep.')) continue
      const [, branch] = name.split('.')
      const of = branch === 'ssl' ? (name.endsWith('.local') ? 'local_u8' : 'global_u8') : `${branch}_u8`
      const rows = plan.shapes.get(of)![0]!
      const order = drawsAt({ seed: options.seed, step, sample: KEPT, view: view++ }).shuffle(rows)
      const data = BigInt64Array.from(order.slice(0, kept), BigInt)
      tensors.set(name, { type: 'int64', data, dims: [kept!] })
    }
  }
}

function addMasks({ masks, indices, weights }: CropMasks, plan: BatchPlan, tensors: Map<string, BatchTensor>): void {
  tensors.set('masks', { type: 'bool', data: masks, dims: plan.shapes.get('masks')! })
  tensors.set('mask_indices', { type: 'int64', data: BigInt64Array.from(indices, BigInt), dims: [indices.length] })
  tensors.set('masks_weight', { type: 'float32', data: weights, dims: [weights.length] })
}

const unreadable = (step: number, what: string, first: Reject): VtpError =>
  new VtpError(`Step ${step}: ${what}; the first is ${first.uri}: ${first.message}`, {
    code: 'batch_unreadable',
    suggestions: ['look whether the images are still there, and run the same command again'],
  })
