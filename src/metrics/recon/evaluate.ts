/**
 * `vtp eval-recon`: encode, decode, compare, in one pass over the images. Follows the official script
 * (tools/test_reconstruction_hf.py): centre crop of ADM, the decoder's output brought back to 0…1 and
 * clamped; PSNR, SSIM and LPIPS on these floats, rFID on both sides truncated to 8 bits.
 */

import path from 'node:path'
import { firstProvider, runsInFlight } from '../../engine/device.js'
import { decoderOf, defaultCacheDir, type PixelRounding } from '../../model/index.js'
import { engineVersion } from '../../version.js'
import { type Collector, createCollector, type PixelBatch } from '../fid/collector.js'
import { frechetDistance } from '../fid/frechet.js'
import { type MatrixProducts, openMatrixProducts } from '../linalg/matmul.js'
import { describeWeights } from '../networks/weights.js'
import { type NumberArrays, underPrefix, withPrefix } from '../pass/checkpoint.js'
import { evaluationIdentity, modelOverSet } from '../pass/identity.js'
import { noneReadable } from '../pass/none-readable.js'
import { openPass, type Pass } from '../pass/pass.js'
import { openReconEngine, type ReconEngine, reconstructBatch } from './engine.js'
import type { ReconRequest, ReconResult } from './request.js'
import { type ReconRow, scoresToRow } from './rows.js'
import { removeSaved, saveImages } from './saved-images.js'
import { type ReconSummary, summarize } from './summary.js'

/** Evaluates; `whenDone` may use the open engine, e.g. to make the pictures of a report. */
export async function evaluateReconstruction(
  request: ReconRequest,
  whenDone?: (result: ReconResult, engine: ReconEngine, pass: Pass<ReconRow>) => Promise<void>,
): Promise<ReconResult> {
  const began = performance.now()
  const closers: (() => Promise<unknown>)[] = []
  try {
    const products = await openMatrixProducts(request.network.cacheDir, request.device.cores)
    closers.push(() => products.close())
    const engine = await openReconEngine(request, closers)
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
    const pass = await openPass<ReconRow>(identity, {
      dir,
      overwrite: request.overwrite,
      cacheDir: request.cacheDir ?? defaultCacheDir(),
      checkpointSeconds: request.checkpointSeconds,
      kept: request.kept,
      onNote: request.onNote,
    })
    let complete = false
    closers.push(() => pass.close(complete))
    if (request.out !== undefined && pass.progress.done === 0) await removeSaved(request.out)
    const collectors = openCollectors(engine, pass.arrays, products)
    const ended = await pass.run({
      set,
      inFlight: runsInFlight(request.device),
      measure: (batch) => reconstructBatch(engine, batch),
      async keep({ entries, count, height, width }, result, first) {
        const size = { count, height, width }
        await Promise.all([
          collectors && collect(collectors.reference, { ...size, data: result.reference }),
          collectors && collect(collectors.reconstruction, { ...size, data: result.reconstruction }),
          request.saveImages && request.out !== undefined ? saveImages(request.out, first, result, size) : undefined,
        ])
        return entries.map((entry, i) => scoresToRow(entry, result.scores[i]!))
      },
      arrays: () => statesOf(collectors),
      stop: request.stop,
      onImages: request.onImages,
    })
    const head = {
      model: model.name,
      modelDigest: model.digest,
      listingDigest: set.digest,
      source: set.uri,
      transform: set.transform.spec,
      precision: request.precision,
      decoderPrecision: request.decoderPrecision,
      rejects: pass.progress.rejects,
      ...set.facts,
    }
    const seconds = (): number => Number(((performance.now() - began) / 1000).toFixed(3))
    if (!ended) return { ...head, images: 0, rejectsByCode: {}, protocol: '', interrupted: true, seconds: seconds() }
    const summary = await summarize(pass.rows(), request.protocolBatch)
    if (summary.images === 0) throw noneReadable(request.source, pass.progress.rejects, (await pass.firstRejects(1))[0])
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
    await whenDone?.(result, engine, pass)
    complete = true
    return result
  } finally {
    for (const close of closers.reverse()) await close().catch(() => {})
  }
}

interface Collectors {
  reference: Collector
  reconstruction: Collector
}

function openCollectors(
  { inception }: ReconEngine,
  moments: NumberArrays | undefined,
  products: MatrixProducts,
): Collectors | undefined {
  if (!inception) return undefined
  const open = (which: keyof Collectors): Collector =>
    createCollector(inception, products, { dims: 2048, from: underPrefix(which, moments) })
  return { reference: open('reference'), reconstruction: open('reconstruction') }
}

async function collect(collector: Collector, batch: PixelBatch): Promise<void> {
  await collector.add(await collector.features(batch))
}

/** What a checkpoint keeps of both sides. */
async function statesOf(collectors: Collectors | undefined): Promise<NumberArrays> {
  const parts = Object.entries(collectors ?? {}).map(async ([name, one]) => withPrefix(name, await one.state()))
  return Object.assign({}, ...(await Promise.all(parts)))
}

const TO_BYTES: Record<PixelRounding, string> = {
  truncate: 'truncated',
  'half-up': 'rounded (halves up)',
  'half-even': 'rounded (halves to even)',
}

function describeProtocol(request: ReconRequest, engine: ReconEngine, summary: ReconSummary): string {
  const { metrics, model, pairs, inception, set } = engine
  const parts = [`${set.transform.spec}, N = ${summary.images}`]
  for (const said of [model.protocol.latents, model.protocol.decoder]) if (said !== undefined) parts.push(said)
  parts.push('decoder output clamped to 0…1')
  if (metrics.psnr) parts.push('PSNR per image on 0…255 floats, mean over images')
  const mean = `mean of means over batches of ${request.protocolBatch} (as the official script)`
  if (metrics.ssim) parts.push(`SSIM torchmetrics 1.x, data range 1, float64, ${mean}`)
  if (metrics.lpips) parts.push(`LPIPS ${pairs.weights.map(describeWeights).join(' + ')}, ${mean}`)
  if (inception)
    parts.push(
      `rFID ${describeWeights(inception.weights[0]!)}, both sides ${TO_BYTES[decoderOf(model).rounding]} to uint8, 2048-d, float64 moments`,
    )
  parts.push(
    `encoder ${request.precision}, decoder ${request.decoderPrecision}, metrics fp32, ${firstProvider(request.device)}, ${engineVersion()}`,
  )
  return parts.join('; ')
}
