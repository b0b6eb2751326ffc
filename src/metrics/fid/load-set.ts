/**
 * One of the sets of `vtp fid`: statistics from a file as they are, or images that go through the network.
 * What an interrupted process has collected of a set lies in the cache, and the next one continues with it;
 * features do not depend on what they are collected for, so another seed or another partner may, too.
 */
import { firstProvider, runsInFlight } from '../../engine/device.js'
import { usageError } from '../../errors.js'
import { joinFacts, type ListingFacts } from '../../io/sources/listing-report.js'
import type { Reject } from '../../types.js'
import type { MatrixProducts } from '../linalg/matmul.js'
import type { OpenNetwork } from '../networks/open.js'
import { evaluationIdentity } from '../pass/identity.js'
import { type StoredListing, storeListing } from '../pass/listing.js'
import { openOwnSizeSet } from '../pass/own-size-set.js'
import { openPass } from '../pass/pass.js'
import { createCollector, inceptionView, type SetStats } from './collector.js'
import { featureRows } from './feature-file.js'
import type { CompareRequest } from './request.js'
import { readStatsFile } from './stats-file.js'

export interface LoadedSet {
  stats: SetStats
  /** Images that went through the network; undefined where all is from the file. */
  read?: number
  rejects: Reject[]
  /** What the listing has passed over or lost. */
  facts: ListingFacts
  /** For .npz files: what the distance is to. */
  from?: 'stored statistics' | 'images of arr_0'
  /** `done`: nobody needs to continue with it. */
  close(done: boolean): Promise<void>
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
    const loaded: LoadedSet = {
      stats: stored,
      from: 'stored statistics',
      rejects: [],
      facts: joinFacts([]),
      close: async () => {},
    }
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
  const { limit, fields, onNote, stop: signal } = request
  const list = request.lists?.get(spec)
  const listing = await storeListing(list ? '-' : spec, {
    limit,
    fields,
    onNote,
    signal,
    stdin: list?.() ?? request.stdin,
  })
  return {
    dims: request.dims,
    load: async (products, network) => collect(spec, listing, kept, request, products, await network()),
    close: () => listing.close(),
  }
}

async function collect(
  spec: string,
  listing: StoredListing,
  kept: Kept,
  request: CompareRequest,
  products: MatrixProducts,
  network: OpenNetwork,
): Promise<LoadedSet | undefined> {
  const { limit, maxPixels, flavour, dims, batchSize, checkpointSeconds, onNote, stop, onImages } = request
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
  const stamp = listing.stampDigest
  const identity = await evaluationIdentity('features of a set of images', decides, { stamp })
  const pass = await openPass<never>(identity, { cacheDir, checkpointSeconds, onNote })
  const set = openOwnSizeSet(listing, { view: inceptionView(flavour), batchSize, threads: device.cores, maxPixels })
  try {
    const features = kept.features ? featureRows(dims, await pass.openFile('features.f32')) : undefined
    const logits = kept.logits ? featureRows(1008, await pass.openFile('logits.f32')) : undefined
    const options = { dims, spatial: kept.spatial, features, logits, from: pass.arrays }
    const collector = createCollector(network, products, options)
    const ended = await pass.run({
      set,
      inFlight: runsInFlight(device),
      measure: collector.features,
      async keep(_, outputs) {
        await collector.add(outputs)
        return []
      },
      arrays: collector.state,
      stop,
      onImages,
    })
    if (!ended) {
      await pass.close(false)
      return undefined
    }
    const rejects = await pass.firstRejects(Number.POSITIVE_INFINITY)
    if (collector.count < 2) throw tooFewImages(spec, collector.count, rejects)
    return { stats: await collector.finish(), read: collector.count, rejects, facts: listing.facts, close: pass.close }
  } catch (error) {
    await pass.close(false)
    throw error
  } finally {
    await set.close()
  }
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
