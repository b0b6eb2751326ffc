/**
 * `vtp eval-recon`: encode, decode, compare, in one pass over the images. Follows the official script
 * (tools/test_reconstruction_hf.py): centre crop of ADM, the decoder's output brought back to 0…1 and
 * clamped; PSNR, SSIM and LPIPS on these floats, rFID on both sides truncated to 8 bits.
 */
import path from 'node:path'
import { mapOrdered } from '../../async/stages.js'
import { type Device, firstProvider, runsInFlight } from '../../engine/device.js'
import { type ImageDecoder, openImageDecoder } from '../../engine/image-decoder.js'
import { type ImageEncoder, openImageEncoder } from '../../engine/image-encoder.js'
import { usageError } from '../../errors.js'
import { decoderOf, defaultCacheDir, type ImageModel, openModel, type Precision } from '../../model/index.js'
import type { PreparedBatch } from '../../pipeline/stream/batch.js'
import { engineVersion } from '../../version.js'
import { type Collector, createCollector } from '../fid/collector.js'
import { frechetDistance } from '../fid/frechet.js'
import { type MatrixProducts, openMatrixProducts } from '../linalg/matmul.js'
import { type NetworkOptions, type OpenNetwork, openInception, openPairs } from '../networks/open.js'
import { describeWeights } from '../networks/weights.js'
import { type ComparedBatch, comparePairs, type PairMetrics } from '../pairs/compare.js'
import { openScorePool, type ScorePool } from '../pairs/score-pool.js'
import { type NumberArrays, underPrefix, withPrefix } from '../pass/checkpoint.js'
import { evaluationIdentity, modelOverSet } from '../pass/identity.js'
import { storeListing } from '../pass/listing.js'
import { noneReadable } from '../pass/none-readable.js'
import { openPreparedSet, type PreparedSet } from '../pass/prepared-set.js'
import type { StateOptions } from '../pass/state.js'
import { openRunFolder, type RunFolder, scoresToRow } from './run-folder.js'
import { removeSaved, saveImages } from './saved-images.js'
import { type ReconSummary, summarize } from './summary.js'

export const RECON_METRICS = ['psnr', 'ssim', 'lpips', 'rfid'] as const
export type ReconMetric = (typeof RECON_METRICS)[number]

export interface ReconRequest {
  source: string
  model: string
  cacheDir?: string
  metrics: ReconMetric[]
  /** Transform spec; default adm-crop at the model's size. */
  transform?: string
  /** Of the encoder. */
  precision: Precision
  /** The official script decodes at fp32, whatever it encodes at. */
  decoderPrecision: Precision
  device: Device
  network: Omit<NetworkOptions, 'batchSize'>
  batchSize: number
  /** The official script averages SSIM and LPIPS per batch first: its batch size. */
  protocolBatch: number
  limit?: number
  maxPixels: number
  /** Folder for results and for what a later run continues from, which lies in the cache otherwise. */
  out?: string
  /** Write reference/ and reconstructed/ PNGs there, named as the official script does. */
  saveImages: boolean
  overwrite?: boolean
  /** How often progress is made durable. */
  checkpointSeconds: number
  /** As in `StateOptions`. */
  kept?: StateOptions['kept']
  stdin?: AsyncIterable<Uint8Array>
  stop?: AbortSignal
  onNote?: (line: string) => void
  onImages?: (done: number, total: number, rejects: number) => void
}

export interface ReconResult extends ReconSummary {
  rfid?: number
  model: string
  modelDigest: string
  listingDigest: string
  source: string
  transform: string
  precision: Precision
  decoderPrecision: Precision
  rejects: number
  protocol: string
  interrupted: boolean
  seconds: number
}

/** Everything that stays open while images pass through. */
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

/** Evaluates; `whenDone` may use the open engine, e.g. to make the pictures of a report. */
export async function evaluateReconstruction(
  request: ReconRequest,
  whenDone?: (result: ReconResult, engine: ReconEngine, folder: RunFolder) => Promise<void>,
): Promise<ReconResult> {
  const began = performance.now()
  const closers: (() => Promise<unknown>)[] = []
  try {
    const products = await openMatrixProducts(request.network.cacheDir, request.device.cores)
    closers.push(() => products.close())
    const engine = await openEngine(request, closers)
    const { model, set } = engine
    const weights = [...engine.pairs.weights, ...(engine.inception?.weights ?? [])]
    const dir = request.out === undefined ? undefined : path.join(request.out, '_eval')
    const identity = await evaluationIdentity(
      'reconstruction',
      {
        ...modelOverSet(model, set, request),
        decoderPrecision: request.decoderPrecision,
        metrics: request.metrics,
        saveImages: request.saveImages,
        weights: weights.map((file) => file.sha256),
      },
      { dir, stamp: set.stamp },
    )
    const folder = await openRunFolder(identity, {
      dir,
      overwrite: request.overwrite,
      cacheDir: request.cacheDir ?? defaultCacheDir(),
      checkpointSeconds: request.checkpointSeconds,
      kept: request.kept,
      onNote: request.onNote,
    })
    let complete = false
    closers.push(() => folder.close(complete))
    if (request.out !== undefined && folder.progress.done === 0) await removeSaved(request.out)
    const collectors = openCollectors(engine, folder, products)
    const interrupted = await passOver(request, engine, folder, collectors)
    const head = {
      model: model.name,
      modelDigest: model.digest,
      listingDigest: set.digest,
      source: set.uri,
      transform: set.transform.spec,
      precision: request.precision,
      decoderPrecision: request.decoderPrecision,
      rejects: folder.progress.rejects,
    }
    const seconds = (): number => Number(((performance.now() - began) / 1000).toFixed(3))
    if (interrupted) return { ...head, images: 0, protocol: '', interrupted: true, seconds: seconds() }
    const summary = await summarize(folder, request.protocolBatch)
    if (summary.images === 0)
      throw noneReadable(request.source, folder.progress.rejects, (await folder.firstRejects(1))[0])
    const result: ReconResult = {
      ...summary,
      ...head,
      protocol: describeProtocol(request, engine, summary),
      interrupted: false,
      seconds: 0,
    }
    if (collectors) {
      const [reference, reconstruction] = [
        await collectors.reference.finish(),
        await collectors.reconstruction.finish(),
      ]
      result.rfid = await frechetDistance(reference.pool, reconstruction.pool, products)
    }
    result.seconds = seconds()
    await whenDone?.(result, engine, folder)
    complete = true
    return result
  } finally {
    for (const close of closers.reverse()) await close().catch(() => {})
  }
}

async function openEngine(request: ReconRequest, closers: (() => Promise<unknown>)[]): Promise<ReconEngine> {
  const { network, cacheDir, batchSize } = request
  // What costs nothing comes first: nobody should wait for a download to learn that a folder is missing.
  const listing = await storeListing(request.source, {
    limit: request.limit,
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
  const pairs = await openPairs(metrics.lpips, { ...network, batchSize })
  closers.push(() => pairs.session.close())
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
  const { height, width } = set.transform
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

interface Collectors {
  reference: Collector
  reconstruction: Collector
}

function openCollectors(
  { inception }: ReconEngine,
  { moments }: RunFolder,
  products: MatrixProducts,
): Collectors | undefined {
  if (!inception) return undefined
  const open = (which: keyof Collectors): Collector =>
    createCollector(inception, products, { flavour: 'pytorch-fid', dims: 2048, from: underPrefix(which, moments) })
  return { reference: open('reference'), reconstruction: open('reconstruction') }
}

/** Reconstructs and compares the pixels of a batch. */
export async function reconstructBatch(engine: ReconEngine, batch: PreparedBatch): Promise<ComparedBatch> {
  const { height, width } = engine.set.transform
  const count = batch.rows.length
  const pixels = new Uint8Array(batch.pixels.memory, 0, count * batch.pixels.imageBytes)
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

/** True when it was interrupted. */
async function passOver(
  request: ReconRequest,
  engine: ReconEngine,
  folder: RunFolder,
  collectors: Collectors | undefined,
): Promise<boolean> {
  const { set } = engine
  const { height, width } = set.transform
  const { progress } = folder
  let images = progress.done - progress.rejects
  if (progress.done > 0) request.onNote?.(`Continuing: ${progress.done} of ${set.total} images are done.`)
  const moments = async (): Promise<NumberArrays> => {
    const parts = Object.entries(collectors ?? {}).map(async ([name, one]) => withPrefix(name, await one.state()))
    return Object.assign({}, ...(await Promise.all(parts)))
  }
  const compared = mapOrdered(set.batches(progress.done), runsInFlight(request.device), async (batch) => {
    const result = batch.rows.length > 0 && !request.stop?.aborted ? await reconstructBatch(engine, batch) : undefined
    set.release(batch)
    return { batch, result }
  })
  for await (const { batch, result } of compared) {
    if (request.stop?.aborted) break
    const entries = batch.positions.map((position) => batch.entries[position - batch.start]!)
    if (result) {
      const size = { count: entries.length, height, width }
      await Promise.all([
        collectors?.reference.add({ ...size, data: result.reference }),
        collectors?.reconstruction.add({ ...size, data: result.reconstruction }),
        request.saveImages && request.out !== undefined ? saveImages(request.out, images, result, size) : undefined,
      ])
      await folder.append(entries.map((entry, i) => scoresToRow(entry, result.scores[i]!)))
    }
    await folder.append(batch.rejects.map(({ reject }) => ({ reject })))
    progress.done = batch.start + batch.entries.length
    progress.rejects += batch.rejects.length
    images += entries.length
    request.onImages?.(progress.done, set.total, progress.rejects)
    await folder.checkpoint(moments)
  }
  const interrupted = progress.done < set.total
  if (interrupted || request.out !== undefined || request.kept) await folder.checkpoint(moments, true)
  return interrupted
}

function describeProtocol(request: ReconRequest, engine: ReconEngine, summary: ReconSummary): string {
  const { metrics, pairs, inception, set } = engine
  const parts = [`${set.transform.spec}, N = ${summary.images}`, 'decoder output clamped to 0…1']
  if (metrics.psnr) parts.push('PSNR per image on 0…255 floats, mean over images')
  const mean = `mean of means over batches of ${request.protocolBatch} (as the official script)`
  if (metrics.ssim) parts.push(`SSIM torchmetrics 1.x, data range 1, float64, ${mean}`)
  if (metrics.lpips) parts.push(`LPIPS ${pairs.weights.map(describeWeights).join(' + ')}, ${mean}`)
  if (inception)
    parts.push(`rFID ${describeWeights(inception.weights[0]!)}, both sides truncated to uint8, 2048-d, float64 moments`)
  parts.push(
    `encoder ${request.precision}, decoder ${request.decoderPrecision}, metrics fp32, ${firstProvider(request.device)}, ${engineVersion()}`,
  )
  return parts.join('; ')
}
