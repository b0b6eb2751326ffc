/**
 * The arithmetic of FID without the network: two statistics of 2048 dimensions → distance, and features →
 * moments → distance, against pytorch-fid (NumPy and scipy) on the same numbers. Statistics are made up, of full
 * rank. The seconds begin with the numbers in memory; the whole command `vtp fid A.npz B.npz` is timed, too.
 * Build first (npm run build).
 *
 *   VTP_PYTHON=PYTHON npx tsx bench/fid.ts [--features 50000] [--rounds 3]
 *
 * VTP_PYTHON has pytorch-fid; without it only our side runs.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { effectiveCores } from '../src/engine/cores.js'
import { defaultCacheDir } from '../src/io/cache.js'
import { encodeNpyHeader } from '../src/io/numpy/npy.js'
import { createRandom } from '../src/math/random.js'
import { frechetDistance } from '../src/metrics/fid/frechet.js'
import { createMoments, type FeatureStats } from '../src/metrics/fid/moments.js'
import { writeStatsFile } from '../src/metrics/fid/stats-file.js'
import { openMatrixProducts } from '../src/metrics/linalg/matmul.js'
import { median, pairedRatio, printTable } from './support/measure.js'

const { values } = parseArgs({
  options: { features: { type: 'string', default: '50000' }, rounds: { type: 'string', default: '3' } },
})
const DIMS = 2048
const folder = mkdtempSync(path.join(tmpdir(), 'vtp-bench-fid-'))
const bin = fileURLToPath(new URL('../bin/run.js', import.meta.url))
const script = fileURLToPath(new URL('./support/frechet.py', import.meta.url))
const products = await openMatrixProducts(defaultCacheDir(), effectiveCores())

interface Numbers {
  fid: number
  fidSeconds: number
  featuresFid: number
  momentsSeconds: number
  featuresSeconds: number
}

/** Positive features with eight directions in common and scales that differ by a hundred. */
function makeFeatures(count: number, seed: number): Float32Array {
  const random = createRandom(seed)
  const shared = Float32Array.from({ length: 8 * DIMS }, (_, i) => Math.sin(i * 0.37))
  const scale = Float32Array.from({ length: DIMS }, (_, c) => 0.01 + ((c * 37) % DIMS) / DIMS)
  const out = new Float32Array(count * DIMS)
  for (let r = 0; r < count; r++) {
    const z = Float32Array.from({ length: 8 }, () => random.next() * 0.5)
    for (let c = 0; c < DIMS; c++) {
      let value = scale[c]! * (random.next() + random.next() + 0.01 * seed)
      for (let k = 0; k < 8; k++) value += z[k]! * shared[k * DIMS + c]!
      out[r * DIMS + c] = value
    }
  }
  return out
}

async function momentsOf(features: Float32Array): Promise<FeatureStats> {
  const moments = createMoments(DIMS, products)
  await moments.add(features)
  return moments.finish()
}

const seconds = (began: number): number => (performance.now() - began) / 1000

async function ours(a: FeatureStats, b: FeatureStats, features: Float32Array): Promise<Numbers> {
  let began = performance.now()
  const fid = await frechetDistance(a, b, products)
  const fidSeconds = seconds(began)
  began = performance.now()
  const stats = await momentsOf(features)
  const momentsSeconds = seconds(began)
  const featuresFid = await frechetDistance(a, stats, products)
  return { fid, fidSeconds, featuresFid, momentsSeconds, featuresSeconds: seconds(began) }
}

try {
  const features = makeFeatures(Number(values.features), 3)
  const [first, second] = [await momentsOf(makeFeatures(6000, 1)), await momentsOf(makeFeatures(6000, 2))]
  // Of statistics from pytorch-fid's files the number of images is not known.
  const [a, b] = [first, second].map(({ dims, mu, sigma }) => ({ dims, mu, sigma })) as [FeatureStats, FeatureStats]
  await writeStatsFile(path.join(folder, 'a.npz'), { pool: a })
  await writeStatsFile(path.join(folder, 'b.npz'), { pool: b })
  const header = encodeNpyHeader('<f4', [features.length / DIMS, DIMS])
  const bytes = new Uint8Array(features.buffer, features.byteOffset, features.byteLength)
  writeFileSync(path.join(folder, 'features.npy'), Buffer.concat([header, bytes]))
  const python = process.env.VTP_PYTHON
  const [mine, theirs, command]: [Numbers[], Numbers[], number[]] = [[], [], []]
  for (let round = 0; round < Number(values.rounds); round++) {
    mine.push(await ours(a, b, features))
    const began = performance.now()
    execFileSync(process.execPath, [bin, 'fid', ...['a.npz', 'b.npz'].map((name) => path.join(folder, name)), '--json'])
    command.push(seconds(began))
    if (python) theirs.push(JSON.parse(execFileSync(python, [script, folder]).toString()) as Numbers)
    process.stderr.write(`round ${round + 1}: ${JSON.stringify([mine.at(-1), command.at(-1), theirs.at(-1)])}\n`)
  }
  const row = (name: string, key: keyof Numbers): [string, string] => {
    const [x, y] = [mine.map((n) => n[key]), theirs.map((n) => n[key])]
    const time = `vtp ${median(x).toFixed(2)} s`
    if (!python) return [name, time]
    return [name, `${time}, pytorch-fid ${median(y).toFixed(2)} s, ratio (paired) ${pairedRatio(y, x).toFixed(2)}`]
  }
  printTable(`FID, ${DIMS} dimensions, ${effectiveCores()} cores`, [
    row('two statistics → FID', 'fidSeconds'),
    row(`${values.features} features → moments`, 'momentsSeconds'),
    row(`${values.features} features → moments → FID`, 'featuresSeconds'),
    ['vtp fid A.npz B.npz, whole command', `${median(command).toFixed(2)} s`],
  ])
  if (python) {
    const difference = (key: 'fid' | 'featuresFid'): string => {
      const [x, y] = [mine[0]![key], theirs[0]![key]]
      return `${x.toFixed(9)} and ${y.toFixed(9)}, relative difference ${Math.abs(x / y - 1).toExponential(1)}`
    }
    console.log(`  of two statistics ${difference('fid')}\n  of features ${difference('featuresFid')}`)
  }
} finally {
  await products.close()
  rmSync(folder, { recursive: true, force: true })
}
