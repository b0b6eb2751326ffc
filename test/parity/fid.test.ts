/** Fréchet distances against pytorch-fid (scipy) and against the same distance by SVD. */
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { defaultCacheDir } from '../../src/io/cache.js'
import { openSafetensors } from '../../src/io/safetensors.js'
import { frechetDistance } from '../../src/metrics/fid/frechet.js'
import { createMoments, type FeatureStats } from '../../src/metrics/fid/moments.js'
import { type MatrixProducts, openMatrixProducts } from '../../src/metrics/linalg/matmul.js'
import { goldenPath } from '../golden.js'
import { hashUniform } from '../support/hash-weights.js'

const expected = JSON.parse(readFileSync(goldenPath('metrics', 'expected.json'), 'utf8')).fid
const DIMS = 2048
let products: MatrixProducts
beforeAll(async () => {
  products = await openMatrixProducts(defaultCacheDir(), 2)
})
afterAll(() => products.close())

/** The reference data's synthetic features. */
function synthetic(set: 'A' | 'B', count: number): Float64Array {
  const s = hashUniform('fid/s', DIMS).map((v) => (0.2 + v) * (set === 'B' ? 1.1 : 1))
  const dm = hashUniform('fid/dm', DIMS)
  const m = hashUniform('fid/m', DIMS).map((v, i) => v + (set === 'B' ? 0.05 * dm[i]! : 0))
  const v = hashUniform('fid/v', 4 * DIMS).map((x) => x - 0.5)
  const u = hashUniform(`fid/u${set}`, count * DIMS)
  const z = hashUniform(`fid/z${set}`, count * 4).map((x) => x - 0.5)
  for (let r = 0; r < count; r++) {
    for (let c = 0; c < DIMS; c++) {
      let sum = m[c]! + s[c]! * u[r * DIMS + c]!
      for (let k = 0; k < 4; k++) sum += z[r * 4 + k]! * v[k * DIMS + c]!
      u[r * DIMS + c] = sum
    }
  }
  return u
}

async function statsOf(features: Float64Array): Promise<FeatureStats> {
  const moments = createMoments(DIMS, products)
  // In pieces of odd size: blocks do not follow the calls.
  for (let at = 0; at < features.length; at += 300 * DIMS) await moments.add(features.subarray(at, at + 300 * DIMS))
  return moments.finish()
}

describe('Fréchet distance', () => {
  it.each(['dense_d16_n200', 'dense_d32_n20'])('%s equals pytorch-fid', async (name) => {
    const file = await openSafetensors(goldenPath('metrics', 'fid.safetensors'))
    const read = async (key: string): Promise<Float64Array> => {
      const bytes = await file.readBytes(`${name}.${key}`)
      return new Float64Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 8)
    }
    const dims = (await read('mu1')).length
    const stats = async (i: number): Promise<FeatureStats> => ({
      dims,
      mu: await read(`mu${i}`),
      sigma: await read(`sigma${i}`),
    })
    const want = expected[name]
    const scale = want.trace_1 + want.trace_2
    const distance = await frechetDistance(await stats(1), await stats(2), products)
    expect(Math.abs(distance - want.nuclear_norm_float64)).toBeLessThan(1e-8 * scale)
    await file.close()
  })

  it.each([
    ['synthetic_singular', 500, 500],
    ['synthetic_mixed', 500, 2600],
    ['synthetic_full_rank', 2600, 2600],
  ])('%s: 2048 dimensions, with and without full rank', async (name, n1, n2) => {
    const want = expected[name]
    const scale = want.trace_1 + want.trace_2
    const a = await statsOf(synthetic('A', n1))
    const b = await statsOf(synthetic('B', n2))
    const distance = await frechetDistance(a, b, products)
    expect(Math.abs(distance - want.nuclear_norm_float64)).toBeLessThan(1e-8 * scale)
    const noise = Math.abs(want.official_calculate_frechet_distance - want.nuclear_norm_float64)
    expect(Math.abs(distance - want.official_calculate_frechet_distance)).toBeLessThan(3 * noise + 1e-9 * scale)
  })
})
