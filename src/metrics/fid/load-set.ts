/**
 * One of the sets of `vtp fid`: statistics from a file as they are, or images that go through the network.
 * What an interrupted process has collected of a set lies in the cache, and the next one continues with it;
 * features do not depend on what they are collected for, so another seed or another partner may, too.
 */
import { usageError } from '../../errors.js'
import type { Reject } from '../../types.js'
import { engineVersion } from '../../version.js'
import type { MatrixProducts } from '../linalg/matmul.js'
import type { OpenNetwork } from '../networks/open.js'
import { appendLines, readLines } from '../resume/append-file.js'
import { type EvalState, openState } from '../resume/state.js'
import { type ImageSet, openImageSet } from '../sets/images.js'
import { readStatsFile } from '../sets/stats-file.js'
import { createCollector, type SetStats } from './collector.js'
import type { CompareRequest } from './compare.js'
import { featureRows } from './feature-file.js'

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

/** Loads a set; undefined when it was interrupted. `judged`: it is the second one, whose Inception Score is asked for. */
export async function loadSet(
  spec: string,
  judged: boolean,
  request: CompareRequest,
  products: MatrixProducts,
  network: () => Promise<OpenNetwork>,
): Promise<LoadedSet | undefined> {
  const { metrics, dims } = request
  const features = metrics.includes('kid') || metrics.includes('prec')
  const logits = judged && metrics.includes('is')
  const spatial = metrics.includes('sfid')
  if (!/\.npz$/i.test(spec)) return collectSet(spec, { features, logits, spatial }, request, products, await network())
  const file = await readStatsFile(spec)
  // Distances are to the stored statistics (usually of more images), as pytorch-fid takes them, even where
  // the file's images are needed, too.
  const stored = file.stats && (!file.images || file.stats.pool.dims === dims) ? file.stats : undefined
  if (stored && !features && !logits && (!spatial || stored.spatial))
    return { stats: stored, from: 'stored statistics', rejects: [], close: async () => {} }
  if (!file.images) {
    const wanted = metrics.filter((metric) => metric !== 'fid').join(', ')
    throw usageError('needs_images', `${spec} holds statistics alone; ${wanted} needs images or their features`, [
      'give the images themselves, or ask for --metrics fid',
    ])
  }
  const set = await collectSet(spec, { features, logits, spatial }, request, products, await network())
  return set && { ...set, stats: { ...set.stats, ...stored }, from: stored ? 'stored statistics' : 'images of arr_0' }
}

async function collectSet(
  spec: string,
  kept: { features: boolean; logits: boolean; spatial: boolean },
  request: CompareRequest,
  products: MatrixProducts,
  network: OpenNetwork,
): Promise<LoadedSet | undefined> {
  const { batchSize, limit, maxPixels, stop: signal, flavour, dims } = request
  const list = request.lists?.get(spec)
  const stdin = list?.() ?? request.stdin
  const images = await openImageSet(list ? '-' : spec, { batchSize, limit, maxPixels, signal, stdin })
  let state: EvalState<Progress> | undefined
  try {
    const identity = {
      what: 'features of a set of images',
      set: spec,
      stamp: images.stamp,
      limit,
      maxPixels,
      flavour,
      dims,
      ...kept,
      weights: network.weights.map((file) => file.sha256),
      provider: request.network.providers[0],
      engine: engineVersion(),
    }
    const { cacheDir } = request.network
    state = await openState(identity, { cacheDir, checkpointSeconds: request.checkpointSeconds })
    return await passOver(images, state, kept, request, products, network)
  } catch (error) {
    await state?.close(false)
    throw error
  } finally {
    await images.close()
  }
}

async function passOver(
  images: ImageSet,
  state: EvalState<Progress>,
  kept: { features: boolean; logits: boolean; spatial: boolean },
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
  return { stats: await collector.finish(), read: collector.count, rejects: told, close: state.close }
}
