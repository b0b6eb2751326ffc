/**
 * Statistics of a set as .npz: `mu` and `sigma` as pytorch-fid saves them (float64), with `count` beside,
 * and ADM's `mu_s`, `sigma_s` for sFID where they were computed.
 */
import { writeFile } from 'node:fs/promises'
import { VtpError } from '../../errors.js'
import { writeAtomically } from '../../io/atomic.js'
import { encodeNpz, openNpz } from '../../io/numpy/npz.js'
import type { SetStats } from './collector.js'
import type { FeatureStats } from './moments.js'

export interface StatsFile {
  stats?: SetStats
  /** Whether it also holds images (`arr_0`). */
  images: boolean
}

/** Opens a file of statistics. Throws VtpError `bad_stats` when it holds neither statistics nor images. */
export async function readStatsFile(path: string): Promise<StatsFile> {
  const npz = await openNpz(path)
  try {
    const read = async (suffix: string): Promise<FeatureStats | undefined> => {
      const [mean, covariance] = [npz.arrays.get(`mu${suffix}`), npz.arrays.get(`sigma${suffix}`)]
      if (!mean || !covariance) return undefined
      const refused = mean.refused ?? covariance.refused
      if (refused) throw refused
      const dims = mean.shape.reduce((a, b) => a * b, 1)
      if (covariance.shape.length !== 2 || covariance.shape.some((size) => size !== dims)) {
        throw new VtpError(`${path}: mu${suffix} has ${dims} values, but sigma${suffix} is [${covariance.shape}]`, {
          code: 'bad_stats',
        })
      }
      const given = npz.arrays.has('count') ? (await npz.readFloat64('count'))[0] : undefined
      const count = given !== undefined && given > 0 ? given : undefined
      const sigma = await npz.readFloat64(`sigma${suffix}`)
      const wrong = notCovariance(sigma, dims)
      if (wrong) throw new VtpError(`${path}: sigma${suffix} is not a covariance: ${wrong}`, { code: 'bad_stats' })
      return { dims, mu: await npz.readFloat64(`mu${suffix}`), sigma, count }
    }
    const pool = await read('')
    const spatial = await read('_s')
    const images = npz.arrays.has('arr_0')
    if (!pool && !images) {
      throw new VtpError(`${path} holds no statistics (mu and sigma) and no images (arr_0)`, {
        code: 'bad_stats',
        exitCode: 2,
        suggestions: [`it has ${[...npz.arrays.keys()].join(', ') || 'no arrays'}`],
      })
    }
    return { images, ...(pool ? { stats: { pool, ...(spatial ? { spatial } : {}) } } : {}) }
  } finally {
    await npz.close()
  }
}

/** Of correlations, and of the largest variance: above the rounding of float16, below what any other matrix shows. */
const ASYMMETRY = 0.01
const NOISE = 1e-6

/** What is wrong with a matrix [dims, dims]; values that are no finite numbers are the distance's to refuse. */
function notCovariance(sigma: Float64Array, dims: number): string | undefined {
  let largest = 0
  for (let i = 0; i < dims; i++) largest = Math.max(largest, sigma[i * dims + i]!)
  for (let i = 0; i < dims; i++) {
    const variance = sigma[i * dims + i]!
    if (variance < 0) return `the variance of feature ${i} is ${variance}`
    for (let j = 0; j < i; j++) {
      const [lower, upper] = [sigma[i * dims + j]!, sigma[j * dims + i]!]
      const allowed = ASYMMETRY * Math.sqrt(variance * sigma[j * dims + j]!) + NOISE * largest
      if (Math.abs(lower - upper) > allowed)
        return `it is not symmetric (${lower} at [${i}, ${j}], ${upper} at [${j}, ${i}])`
    }
  }
  return undefined
}

export async function writeStatsFile(path: string, { pool, spatial }: SetStats): Promise<void> {
  const parts = ({ dims, mu, sigma }: FeatureStats, suffix: string) => [
    { name: `mu${suffix}`, shape: [dims], data: mu },
    { name: `sigma${suffix}`, shape: [dims, dims], data: sigma },
  ]
  // Where nobody knows, nothing is said.
  const count =
    pool.count === undefined ? [] : [{ name: 'count', shape: [1], data: BigInt64Array.of(BigInt(pool.count)) }]
  const bytes = encodeNpz([...parts(pool, ''), ...(spatial ? parts(spatial, '_s') : []), ...count])
  await writeAtomically(path, (tmp) => writeFile(tmp, bytes))
}
