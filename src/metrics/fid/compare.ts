/** `vtp fid`: two sets of images or statistics → FID and its relatives, with their protocol. */

import path from 'node:path'
import { usageError } from '../../errors.js'
import { makeFolder } from '../../io/make-folder.js'
import { joinFacts } from '../../io/sources/listing-report.js'
import { type MatrixProducts, openMatrixProducts } from '../linalg/matmul.js'
import { type OpenNetwork, openInception } from '../networks/open.js'
import type { SetStats } from './collector.js'
import { assertSameWidth, frechetDistance } from './frechet.js'
import { ADM_SPLIT, inceptionScore, partsOf, splitsOf } from './inception-score.js'
import { kernelInceptionDistance } from './kid.js'
import { type LoadedSet, type OpenedSet, openSet } from './load-set.js'
import { precisionRecall } from './precision-recall.js'
import { describeProtocol } from './protocol.js'
import type { CompareRequest, CompareResult, Measured } from './request.js'
import { writeStatsFile } from './stats-file.js'

export async function compareSets(request: CompareRequest): Promise<CompareResult> {
  const { metrics, flavour, dims } = request
  if (dims !== 2048 && metrics.some((metric) => metric !== 'fid')) {
    throw usageError('bad_dims', `--dims ${dims} goes with fid alone`, ['leave --dims out for the other metrics'])
  }
  if (request.b === undefined && request.saveStats === undefined)
    throw usageError('nothing_to_do', 'There is neither a second set nor --save-stats', [
      'give two sets, or name a file for the statistics of the one: --save-stats FILE.npz',
    ])
  const opened: OpenedSet[] = []
  const loaded: LoadedSet[] = []
  const networks: OpenNetwork[] = []
  let products: MatrixProducts | undefined
  let complete = false
  try {
    // Both sets before anything slow: nobody should wait for weights or for A to learn that B is missing.
    for (const [i, spec] of [request.a, ...(request.b === undefined ? [] : [request.b])].entries())
      opened.push(await openSet(spec, i === 1, request))
    if (request.saveStats !== undefined) await makeFolder(path.dirname(path.resolve(request.saveStats)))
    const [first, second] = opened
    if (first && second) assertSameWidth(first, second)
    products = await openMatrixProducts(request.network.cacheDir, request.network.device.cores)
    const network = async (): Promise<OpenNetwork> => {
      networks[0] ??= await openInception(
        { flavour, dims: [dims], spatial: metrics.includes('sfid'), logits: metrics.includes('is') },
        { ...request.network, batchSize: request.batchSize },
      )
      return networks[0]
    }
    for (const one of opened) {
      const set = await one.load(products, network)
      if (!set) return { images: [], rejects: [], ...joinFacts([]), protocol: '', interrupted: true }
      loaded.push(set)
    }
    if (request.limit !== undefined && loaded.every((set) => set.read === undefined)) {
      throw usageError('limit_of_statistics', '--limit limits images, and nothing but stored statistics is read', [
        'leave --limit out, or give the images themselves',
      ])
    }
    const [a, b] = loaded.map((set) => set.stats) as [SetStats, SetStats | undefined]
    if (request.saveStats !== undefined) await writeStatsFile(request.saveStats, a)
    const measured = b ? await measure(a, b, request, products) : { numbers: {} }
    complete = true
    return {
      ...measured.numbers,
      images: [a, b].filter((set) => set !== undefined).map((set) => set.pool.count ?? null),
      rejects: loaded.flatMap((set) => set.rejects),
      ...joinFacts(loaded.map((set) => set.facts)),
      protocol: describeProtocol(request, networks[0], loaded, measured),
      interrupted: false,
    }
  } finally {
    await Promise.allSettled([
      ...loaded.map((set) => set.close(complete)),
      ...opened.map((set) => set.close()),
      ...networks.map((n) => n.session.close()),
    ])
    await products?.close()
  }
}

async function measure(a: SetStats, b: SetStats, request: CompareRequest, products: MatrixProducts): Promise<Measured> {
  const { metrics, seed } = request
  const out: Partial<CompareResult> = {}
  const measured: Measured = { numbers: out }
  if (metrics.includes('fid')) out.fid = await frechetDistance(a.pool, b.pool, products)
  if (metrics.includes('sfid')) out.sfid = await frechetDistance(a.spatial!, b.spatial!, products)
  if (metrics.includes('kid')) {
    const kid = await kernelInceptionDistance(a.features!, b.features!, products, { ...request.kid, seed })
    out.kid = kid.mean
    out.kidStd = kid.std
    measured.kidSubset = kid.subsetSize
  }
  if (metrics.includes('is')) {
    const logits = b.logits!
    const ranges = request.flavour === 'adm' ? partsOf(logits.count, ADM_SPLIT) : splitsOf(logits.count, 10)
    const { mean, std, splits } = await inceptionScore(logits, ranges)
    out.inceptionScore = mean
    out.inceptionScoreStd = std
    measured.isSplits = `${splits} split${splits === 1 ? '' : 's'}${request.flavour === 'adm' ? ` of ${ADM_SPLIT} at most` : ''}`
  }
  if (metrics.includes('prec')) {
    const { neighbour: k, prImages } = request
    Object.assign(out, await precisionRecall(a.features!, b.features!, products, { k, images: prImages, seed }))
  }
  return measured
}
