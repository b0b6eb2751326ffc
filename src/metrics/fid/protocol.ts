/** How the numbers of two sets came to be, in one line: only what was really done. */
import { firstProvider } from '../../engine/device.js'
import { engineVersion } from '../../version.js'
import type { OpenNetwork } from '../networks/open.js'
import { describeWeights } from '../networks/weights.js'
import type { LoadedSet } from './load-set.js'
import type { CompareRequest, Measured } from './request.js'

/** `network` is undefined where every set is statistics from a file: nothing is known of how those were made. */
export function describeProtocol(
  request: CompareRequest,
  network: OpenNetwork | undefined,
  loaded: readonly LoadedSet[],
  measured: Measured,
): string {
  const { metrics, flavour } = request
  const counts = loaded.map(({ stats }) => stats.pool.count ?? 'unknown').join(' and ')
  const parts = network
    ? [`Inception-v3 ${describeWeights(network.weights[0]!)}`, `${flavour} resize to 299`]
    : ['statistics from files, as they are']
  parts.push(`${loaded[0]!.stats.pool.dims}-d features`, `N = ${counts}`)
  for (const [i, { from }] of loaded.entries()) if (from) parts.push(`${i === 0 ? 'reference' : 'judged'}: ${from}`)
  if (request.limit !== undefined) {
    const limited = loaded.flatMap(({ read }, i) => (read === undefined ? [] : [i === 0 ? 'the first' : 'the second']))
    parts.push(`at most ${request.limit} images of ${limited.join(' and ')} set`)
  }
  if (loaded.some(({ from }) => from !== 'stored statistics')) parts.push('covariance n - 1, float64')
  if (metrics.includes('sfid'))
    parts.push('sFID: the first 7 channels of Mixed_6d after ReLU, 17 × 17 × 7 as ADM orders them')
  if (measured.kidSubset !== undefined)
    parts.push(`KID: ${request.kid.subsets} subsets of ${measured.kidSubset}, cubic kernel, seed ${request.seed}`)
  if (measured.isSplits !== undefined)
    parts.push(`IS of the second set: 1008 outputs without bias, ${measured.isSplits} in order`)
  if (metrics.includes('prec'))
    parts.push(
      `precision and recall: k = ${request.neighbour}, at most ${request.prImages} images a set, seed ${request.seed}`,
    )
  parts.push(
    network
      ? `fp32, ${firstProvider(request.network.device)}, ${engineVersion()}`
      : `distance in float64, ${engineVersion()}`,
  )
  return parts.join('; ')
}
