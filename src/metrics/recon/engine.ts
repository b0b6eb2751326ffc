/** Everything that stays open while images pass through an evaluation of reconstructions, and one batch through it. */
import { type ImageDecoder, openImageDecoder } from '../../engine/image-decoder.js'
import { type ImageEncoder, openImageEncoder } from '../../engine/image-encoder.js'
import { usageError } from '../../errors.js'
import { decoderOf, type ImageModel, openModel, type PixelDecoder } from '../../model/index.js'
import type { PairSpec } from '../../model/networks.js'
import { type OpenNetwork, openInception, openPairs } from '../networks/open.js'
import { type ComparedBatch, comparePairs } from '../pairs/compare.js'
import { openScorePool, type ScorePool } from '../pairs/score-pool.js'
import type { PairMetrics } from '../pairs/scores.js'
import type { ImageBatch } from '../pass/image-set.js'
import { storeListing } from '../pass/listing.js'
import { openPreparedSet, type PreparedSet } from '../pass/prepared-set.js'
import type { ReconRequest } from './request.js'

export interface ReconEngine {
  model: ImageModel
  set: PreparedSet
  encoder: ImageEncoder
  decoder: ImageDecoder<'image'>
  pairs: OpenNetwork
  scores: ScorePool
  inception?: OpenNetwork
  metrics: PairMetrics
}

/** What is opened is added to `closers`. Throws usage errors `too_few_images`, `no_decoder`, `size_mismatch`. */
export async function openReconEngine(
  request: ReconRequest,
  closers: (() => Promise<unknown>)[],
): Promise<ReconEngine> {
  const { network, cacheDir, batchSize } = request
  // What costs nothing comes first: nobody should wait for a download to learn that a folder is missing.
  const listing = await storeListing(request.source, {
    limit: request.limit,
    fields: request.fields,
    onNote: request.onNote,
    stdin: request.stdin,
    signal: request.stop,
  })
  closers.push(() => listing.close())
  if (listing.total < 2 && request.metrics.includes('rfid'))
    throw usageError('too_few_images', `rFID needs at least 2 images; ${request.source} has ${listing.total}`, [
      'pass --metrics psnr,ssim,lpips, which are numbers of single images',
    ])
  const model = await openModel(request.model, { cacheDir, onNote: request.onNote, signal: request.stop })
  closers.push(() => model.close())
  const pixelDecoder = decoderOf(model)
  const metrics: PairMetrics = {
    psnr: request.metrics.includes('psnr'),
    ssim: request.metrics.includes('ssim'),
    lpips: request.metrics.includes('lpips'),
  }
  const scores = openScorePool(request.device.cores)
  closers.push(() => scores.close())
  let inception: OpenNetwork | undefined
  if (request.metrics.includes('rfid')) {
    inception = await openInception({ flavour: 'pytorch-fid', dims: [2048] }, { ...network, batchSize })
    const { session } = inception
    closers.push(() => session.close())
  }
  const set = await openPreparedSet(listing, {
    transform: request.transform ?? model.transform('reconstruction'),
    batchSize,
    threads: request.device.cores,
    maxPixels: request.maxPixels,
  })
  closers.push(() => set.close())
  const { height, width, isFloat } = set.transform
  const decoded = comparison(pixelDecoder)
  if (isFloat && !(model.takesFloats && decoded)) {
    throw usageError(
      'float_transform',
      `${model.name} takes 8-bit pixels; ${set.transform.spec} does not round to them`,
      ['use resize instead of float-resize'],
    )
  }
  const pairSpec = { lpips: metrics.lpips, decoded, ...(isFloat ? { pixels: 'float32' as const } : {}) }
  const pairs = await openPairs(pairSpec, { ...network, batchSize })
  closers.push(() => pairs.session.close())
  const [, gridHeight, gridWidth] = pixelDecoder.latentShape(set.transform)
  const grid = { height: gridHeight, width: gridWidth }
  const made = pixelDecoder.imageSize(grid)
  if (made.height !== height || made.width !== width) {
    throw usageError(
      'size_mismatch',
      `${model.name} turns ${width}×${height} pixels into ${made.width}×${made.height}: they cannot be compared`,
      ['choose a --transform whose sides are multiples of the patch size'],
    )
  }
  const { device, onNote } = { ...request, ...network }
  const encoder = await openImageEncoder(model, {
    device,
    size: set.transform,
    pixels: isFloat ? 'float32' : 'uint8',
    outputs: ['latents'],
    precision: request.precision,
    images: batchSize,
    onNote,
  })
  closers.push(() => encoder.close())
  const precision = request.decoderPrecision
  const decoder = await openImageDecoder(model, 'image', { device, grid, precision, images: batchSize, onNote })
  closers.push(() => decoder.close())
  return { model, set, encoder, decoder, pairs, scores, inception, metrics }
}

/** Undefined where originals are compared as VTP's script does it. */
function comparison({ comparesNormalised, mean, std, rounding }: PixelDecoder): PairSpec['decoded'] {
  return comparesNormalised ? undefined : { mean, std, rounding }
}

/** Reconstructs and compares the pixels of a batch. */
export async function reconstructBatch(engine: ReconEngine, batch: ImageBatch): Promise<ComparedBatch> {
  const { count, height, width } = batch
  const pixels = batch.data
  const { tensors } = await engine.encoder.encode(pixels, count)
  const image = await engine.decoder.decode(tensors.latents as Float32Array, count)
  return comparePairs(engine.pairs.session, engine.scores, {
    pixels,
    image,
    count,
    height,
    width,
    metrics: engine.metrics,
  })
}
