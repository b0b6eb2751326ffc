/**
 * One of the sets of `vtp fid`: statistics from a file as they are, or images that go through the network.
 * What an interrupted process has collected of a set lies in the cache, and the next one continues with it;
 * features do not depend on what they are collected for, so another seed or another partner may, too.
 */
import { firstProvider } from '../../engine/device.js'
import { usageError } from '../../errors.js'
import type { Reject } from '../../types.js'
import type { MatrixProducts } from '../linalg/matmul.js'
import type { OpenNetwork } from '../networks/open.js'
import { appendLines, readLines } from '../pass/append-file.js'
import { evaluationIdentity } from '../pass/identity.js'
import { type EvalState, openState } from '../pass/state.js'
import { type ImageSet, openImageSet } from '../sets/images.js'
import { createCollector, type SetStats } from './collector.js'
import type { CompareRequest } from './compare.js'
import { featureRows } from './feature-file.js'
import { readStatsFile } from './stats-file.js'

export interface LoadedSet {
  stats: SetStats
  /** Images that went through the network; undefined where all is from the file. */
  read?: number
  rejects: Reject[]
  /** For .npz files: what the distance is to. */
  from?: 'stored statistics' | 'images of arr_0'
  /** `done`: nobody needs to continue with it. */
  close(done: boolean): Promise<void>
}

/** What a checkpoint says of a set; `done` is as `ImageBatch` counts it. */
interface Progress {
  done: number
  rejects: number
}

/** A set that is there, before anything slow or large is asked for. */
export interface OpenedSet {
  /** Width of the features. */
  dims: number
  /** Undefined when it was interrupted. */
  load(products: MatrixProducts, network: () => Promise<OpenNetwork>): Promise<LoadedSet | undefined>
  close(): Promise<void>
}

interface Kept {
  features: boolean
  logits: boolean
  spatial: boolean
}

/**
 * Opens a set. `judged`: it is the second one, whose Inception Score is asked for. Throws usage errors for
 * what is no set, or holds too little for the metrics.
 */
export async function openSet(spec: string, judged: boolean, request: CompareRequest): Promise<OpenedSet> {
  const { metrics, dims } = request
  const features = metrics.includes('kid') || metrics.includes('prec')
  const logits = judged && metrics.includes('is')
  const spatial = metrics.includes('sfid')
  const kept = { features, logits, spatial }
  if (!/\.npz$/i.test(spec)) return openImages(spec, kept, request)
  const file = await readStatsFile(spec)
  // Distances are to the stored statistics (usually of more images), as pytorch-fid takes them, even where
  // the file's images are needed, too.
  const stored = file.stats && (!file.images || file.stats.pool.dims === dims) ? file.stats : undefined
  if (stored && !features && !logits && (!spatial || stored.spatial)) {
    const loaded: LoadedSet = { stats: stored, from: 'stored statistics', rejects: [], close: async () => {} }
    return { dims: stored.pool.dims, load: async () => loaded, close: async () => {} }
  }
  if (!file.images) {
    const wanted = metrics.filter((metric) => metric !== 'fid').join(', ')
    throw usageError('needs_images', `${spec} holds statistics alone; ${wanted} needs images or their features`, [
      'give the images themselves, or ask for --metrics fid',
    ])
  }
  const images = await openImages(spec, kept, request)
  return {
    dims: images.dims,
    async load(products, network) {
      const set = await images.load(products, network)
      const from = stored ? 'stored statistics' : 'images of arr_0'
      return set && { ...set, stats: { ...set.stats, ...stored }, from }
    },
    close: images.close,
  }
}

async function openImages(spec: string, kept: Kept, request: CompareRequest): Promise<OpenedSet> {
  const { batchSize, limit, maxPixels, stop: signal } = request
  const list = request.lists?.get(spec)
  const stdin = list?.() ?? request.stdin
  const images = await openImageSet(list ? '-' : spec, { batchSize, limit, maxPixels, signal, stdin })
  return {
    dims: request.dims,
    load: async (products, network) => collect(spec, images, kept, request, products, await network()),
    close: images.close,
  }
}

async function collect(
  spec: string,
  images: ImageSet,
  kept: Kept,
  request: CompareRequest,
  products: MatrixProducts,
  network: OpenNetwork,
): Promise<LoadedSet | undefined> {
  const { limit, maxPixels, flavour, dims } = request
  const { cacheDir, device } = request.network
  const decides = {
    set: spec,
    limit,
    maxPixels,
    flavour,
    dims,
    ...kept,
    weights: network.weights.map((file) => file.sha256),
    provider: firstProvider(device),
  }
  const identity = await evaluationIdentity('features of a set of images', decides, { stamp: () => images.stamp })
  const state = await openState<Progress>(identity, { cacheDir, checkpointSeconds: request.checkpointSeconds })
  try {
    return await passOver(spec, images, state, kept, request, products, network)
  } catch (error) {
    await state.close(false)
    throw error
  }
}

async function passOver(
  spec: string,
  images: ImageSet,
  state: EvalState<Progress>,
  kept: Kept,
  request: CompareRequest,
  products: MatrixProducts,
  network: OpenNetwork,
): Promise<LoadedSet | undefined> {
  const { flavour, dims, stop } = request
  const { spatial } = kept
  const features = kept.features ? featureRows(dims, await state.openFile('features.f32')) : undefined
  const logits = kept.logits ? featureRows(1008, await state.openFile('logits.f32')) : undefined
  const rejects = await state.openFile('rejects.jsonl')
  const collector = createCollector(network, products, { flavour, dims, spatial, features, logits, from: state.arrays })
  const progress: Progress = state.head ?? { done: 0, rejects: 0 }
  if (progress.done > 0) request.onNote?.(`Continuing: ${progress.done} of ${images.total ?? 'the'} images are done.`)
  let interrupted = false
  const snapshot = async () => ({ head: progress, arrays: await collector.state() })
  for await (const batch of images.batches(progress.done)) {
    interrupted = stop?.aborted ?? false
    if (interrupted) break
    if (batch.count > 0) await collector.add(batch)
    await appendLines(rejects, batch.rejects)
    progress.done = batch.done
    progress.rejects += batch.rejects.length
    request.onImages?.(progress.done, images.total, progress.rejects)
    await state.checkpointWhenDue(snapshot)
  }
  if (interrupted) {
    await state.checkpoint(progress, await collector.state())
    await state.close(false)
    return undefined
  }
  const told: Reject[] = []
  for await (const reject of readLines<Reject>(rejects)) told.push(reject)
  if (collector.count < 2) throw tooFewImages(spec, collector.count, told)
  return { stats: await collector.finish(), read: collector.count, rejects: told, close: state.close }
}

function tooFewImages(spec: string, count: number, rejects: readonly Reject[]): Error {
  const [first] = rejects
  const why = first ? `; ${rejects.length} cannot be read, first ${first.key} (${first.message})` : ''
  return usageError(
    'too_few_images',
    `${spec}: a covariance needs at least 2 images, and ${count} could be used${why}`,
    ['give more images; FID is usually computed on 10,000 to 50,000'],
  )
}
