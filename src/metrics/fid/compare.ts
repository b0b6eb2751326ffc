/** `vtp fid`: two sets of images or statistics → FID and its relatives, with their protocol. */
import { usageError } from '../../errors.js'
import type { Reject } from '../../types.js'
import { engineVersion } from '../../version.js'
import { type MatrixProducts, openMatrixProducts } from '../linalg/matmul.js'
import type { FidDims, FidFlavour } from '../networks/inception.js'
import { type NetworkOptions, type OpenNetwork, openInception } from '../networks/open.js'
import { describeWeights } from '../networks/weights.js'
import { readImageSet } from '../sets/images.js'
import { readStatsFile, writeStatsFile } from '../sets/stats-file.js'
import { createCollector, type SetStats } from './collector.js'
import { frechetDistance } from './frechet.js'
import { inceptionScore } from './inception-score.js'
import { kernelInceptionDistance } from './kid.js'
import { precisionRecall } from './precision-recall.js'

export const FID_METRICS = ['fid', 'sfid', 'kid', 'is', 'prec'] as const
export type FidMetric = (typeof FID_METRICS)[number]

export interface CompareRequest {
  /** The reference. */
  a: string
  /** What is judged; may be absent when only A's statistics are wanted. */
  b?: string
  metrics: FidMetric[]
  flavour: FidFlavour
  dims: FidDims
  /** Write A's statistics here. */
  saveStats?: string
  network: NetworkOptions
  batchSize: number
  limit?: number
  seed: number
  kid: { subsets: number; subsetSize: number }
  neighbour: number
  prImages: number
  maxPixels: number
  stdin?: AsyncIterable<Uint8Array>
  stop?: AbortSignal
  onImages?: (done: number, rejects: number) => void
}

export interface CompareResult {
  fid?: number
  sfid?: number
  kid?: number
  kidStd?: number
  inceptionScore?: number
  inceptionScoreStd?: number
  precision?: number
  recall?: number
  /** Images of A and B; null for statistics from a file that does not say. */
  images: (number | null)[]
  rejects: Reject[]
  protocol: string
  interrupted: boolean
}

interface Loaded {
  stats: SetStats
  close(): Promise<void>
}

export async function compareSets(request: CompareRequest): Promise<CompareResult> {
  const { metrics, flavour, dims } = request
  if (dims !== 2048 && metrics.some((metric) => metric !== 'fid')) {
    throw usageError('bad_dims', `--dims ${dims} goes with fid alone`, ['leave --dims out for the other metrics'])
  }
  const products = await openMatrixProducts(request.network.cacheDir, request.network.threads)
  const rejects: Reject[] = []
  const loaded: Loaded[] = []
  const networks: OpenNetwork[] = []
  let images = 0
  try {
    const network = async (): Promise<OpenNetwork> => {
      networks[0] ??= await openInception(
        { flavour, dims: [dims], spatial: metrics.includes('sfid'), logits: metrics.includes('is') },
        request.network,
      )
      return networks[0]
    }
    for (const [i, spec] of [request.a, ...(request.b === undefined ? [] : [request.b])].entries()) {
      const onCount = (count: number): void => request.onImages?.(images + count, rejects.length)
      const set = await loadSet(spec, i === 1, request, products, network, rejects, onCount)
      if (!set) return { images: [], rejects, protocol: '', interrupted: true }
      loaded.push(set)
      images += set.stats.pool.count ?? 0
    }
    const [a, b] = loaded.map((set) => set.stats) as [SetStats, SetStats | undefined]
    if (request.saveStats !== undefined) await writeStatsFile(request.saveStats, a)
    const numbers = b ? await measure(a, b, request, products) : {}
    return {
      ...numbers,
      images: [a, b].filter((set) => set !== undefined).map((set) => set.pool.count ?? null),
      rejects,
      protocol: describeProtocol(request, networks[0], loaded),
      interrupted: false,
    }
  } finally {
    await Promise.allSettled([...loaded.map((set) => set.close()), ...networks.map((n) => n.session.close())])
    await products.close()
  }
}

async function loadSet(
  spec: string,
  judged: boolean,
  request: CompareRequest,
  products: MatrixProducts,
  network: () => Promise<OpenNetwork>,
  rejects: Reject[],
  onCount: (count: number) => void,
): Promise<Loaded | undefined> {
  const { metrics, flavour, dims } = request
  const needsFeatures = metrics.includes('kid') || metrics.includes('prec')
  const needsLogits = judged && metrics.includes('is')
  let stored: SetStats | undefined
  if (/\.npz$/i.test(spec)) {
    const file = await readStatsFile(spec)
    // ADM's files hold images and statistics of its own network: they are taken for that flavour.
    const useStats = file.stats && (!file.images || flavour === 'adm')
    // Distances are to the stored statistics (of more images) even where the stored images are needed, too.
    if (useStats && (!metrics.includes('sfid') || file.stats?.spatial)) stored = file.stats
    if (useStats && !needsFeatures && !needsLogits && (!metrics.includes('sfid') || file.stats?.spatial)) {
      return { stats: file.stats!, close: async () => {} }
    }
    if (!file.images) {
      const wanted = metrics.filter((metric) => metric !== 'fid').join(', ')
      throw usageError('needs_images', `${spec} holds statistics alone; ${wanted} needs images or their features`, [
        'give the images themselves, or ask for --metrics fid',
      ])
    }
  }
  const collector = await createCollector(await network(), products, {
    flavour,
    dims,
    spatial: metrics.includes('sfid'),
    keepFeatures: needsFeatures,
    keepLogits: needsLogits,
  })
  const { batchSize, limit, maxPixels, stop, stdin } = request
  try {
    const onReject = (reject: Reject): void => void rejects.push(reject)
    for await (const batch of readImageSet(spec, { batchSize, limit, maxPixels, stop, stdin, onReject })) {
      await collector.add(batch)
      onCount(collector.count)
    }
    if (stop?.aborted) {
      await collector.close()
      return undefined
    }
    const stats = await collector.finish()
    return { stats: { ...stats, ...stored }, close: () => collector.close() }
  } catch (error) {
    await collector.close()
    throw error
  }
}

async function measure(
  a: SetStats,
  b: SetStats,
  request: CompareRequest,
  products: MatrixProducts,
): Promise<Partial<CompareResult>> {
  const { metrics, seed } = request
  const out: Partial<CompareResult> = {}
  if (metrics.includes('fid')) out.fid = await frechetDistance(a.pool, b.pool, products)
  if (metrics.includes('sfid')) out.sfid = await frechetDistance(a.spatial!, b.spatial!, products)
  if (metrics.includes('kid')) {
    const { mean, std } = await kernelInceptionDistance(a.features!, b.features!, products, { ...request.kid, seed })
    out.kid = mean
    out.kidStd = std
  }
  if (metrics.includes('is')) {
    const { mean, std } = await inceptionScore(b.logits!)
    out.inceptionScore = mean
    out.inceptionScoreStd = std
  }
  if (metrics.includes('prec')) {
    const { neighbour: k, prImages } = request
    Object.assign(out, await precisionRecall(a.features!, b.features!, products, { k, images: prImages, seed }))
  }
  return out
}

function describeProtocol(request: CompareRequest, network: OpenNetwork | undefined, loaded: Loaded[]): string {
  const counts = loaded.map(({ stats }) => stats.pool.count ?? 'unknown').join(' and ')
  const parts = [
    `Inception-v3 ${network ? describeWeights(network.weights[0]!) : '(statistics from files)'}`,
    `${request.flavour} resize to 299`,
    `${request.dims}-d features`,
    `N = ${counts}`,
    'covariance n - 1, float64',
  ]
  if (request.metrics.includes('sfid'))
    parts.push('sFID: the first 7 channels of Mixed_6d after ReLU, 17 × 17 × 7 as ADM orders them')
  if (request.metrics.includes('kid'))
    parts.push(`KID: ${request.kid.subsets} subsets of ${request.kid.subsetSize}, cubic kernel, seed ${request.seed}`)
  if (request.metrics.includes('is')) parts.push('IS of the second set: 1008 outputs without bias, 10 splits in order')
  if (request.metrics.includes('prec'))
    parts.push(
      `precision and recall: k = ${request.neighbour}, at most ${request.prImages} images a set, seed ${request.seed}`,
    )
  parts.push(`fp32, ${request.network.providers[0]}, ${engineVersion()}`)
  return parts.join('; ')
}
