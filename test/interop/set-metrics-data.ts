/**
 * Two sets of features, logits and images that set-metrics.ts shows to the reference programs and
 * set-metrics.test.ts to ours again; everything comes from a formula or from fixtures/.
 */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { decodeImage } from '../../src/image/decode.js'
import { resizeForCleanFid } from '../../src/image/resize-float.js'
import { defaultCacheDir } from '../../src/io/cache.js'
import { createFeatureFile, type TemporaryFeatureFile } from '../../src/metrics/fid/feature-file.js'
import { frechetDistance } from '../../src/metrics/fid/frechet.js'
import { ADM_SPLIT, inceptionScore, partsOf, splitsOf } from '../../src/metrics/fid/inception-score.js'
import { kernelInceptionDistance } from '../../src/metrics/fid/kid.js'
import { createMoments } from '../../src/metrics/fid/moments.js'
import { precisionRecall } from '../../src/metrics/fid/precision-recall.js'
import { openMatrixProducts } from '../../src/metrics/linalg/matmul.js'
import { INCEPTION_SIZE } from '../../src/model/inception/graph.js'
import { repoRoot } from '../support/cli.js'
import { hashUniform } from '../support/hash-weights.js'

export const ROWS = 800
export const DIMS = 64
/** More than two of ADM's splits of 5,000, the last one shorter. */
export const LOGIT_ROWS = 12_000
export const CLASSES = 40

/** Features of 0…2 on a curved surface of few dimensions with a little noise, so that some lie inside and some outside. */
function features(set: 'a' | 'b'): Float32Array {
  const v = hashUniform('sets/v', 4 * DIMS).map((x) => x - 0.5)
  const z = hashUniform(`sets/z${set}`, ROWS * 4).map((x) => (set === 'b' ? 0.15 + 0.8 * x : x))
  const noise = hashUniform(`sets/n${set}`, ROWS * DIMS)
  return Float32Array.from({ length: ROWS * DIMS }, (_, i) => {
    const [r, c] = [Math.floor(i / DIMS), i % DIMS]
    let sum = 0
    for (let k = 0; k < 4; k++) sum += z[r * 4 + k]! * v[k * DIMS + c]!
    return 1 + Math.sin(2 * sum) + 0.1 * noise[i]!
  })
}

export const setA = (): Float32Array => features('a')
export const setB = (): Float32Array => features('b')
export const logitsOfB = (): Float32Array =>
  Float32Array.from(hashUniform('sets/logits', LOGIT_ROWS * CLASSES), (u) => 8 * u - 4)

export interface OurNumbers {
  kid: number
  is: number
  isStd: number
  isAdm: number
  precision: number
  recall: number
  fid: number
}

async function stored(rows: Float32Array, dims: number): Promise<TemporaryFeatureFile> {
  const file = await createFeatureFile(dims)
  await file.append(rows)
  return file
}

/** KID of one subset that is the whole set: other programs draw other subsets. */
export async function ourNumbers(): Promise<OurNumbers> {
  const products = await openMatrixProducts(defaultCacheDir(), 2)
  const files = await Promise.all([stored(setA(), DIMS), stored(setB(), DIMS), stored(logitsOfB(), CLASSES)])
  const [a, b, logits] = files
  try {
    const stats = async (rows: Float32Array) => {
      const moments = createMoments(DIMS, products)
      await moments.add(rows)
      return moments.finish()
    }
    const scores = await inceptionScore(logits, splitsOf(LOGIT_ROWS, 10))
    return {
      kid: (await kernelInceptionDistance(a, b, products, { subsets: 1, subsetSize: ROWS, seed: 0 })).mean,
      is: scores.mean,
      isStd: scores.std,
      isAdm: (await inceptionScore(logits, partsOf(LOGIT_ROWS, ADM_SPLIT))).mean,
      ...(await precisionRecall(a, b, products, { k: 3, images: ROWS, seed: 0 })),
      fid: await frechetDistance(await stats(setA()), await stats(setB()), products),
    }
  } finally {
    await Promise.all([...files.map((file) => file.close()), products.close()])
  }
}

/** Own images, larger and smaller than 299 × 299 and both at once. */
export const FIXTURES = [
  'things/rocket progressive.jpg',
  'things/rocket cmyk.jpg',
  'textures and sky/brick.bmp',
  'textures and sky/砂利 gravel.jpg',
].map((name) => path.join(repoRoot, 'fixtures', 'images', name))

/** Ours in clean-fid's layout: float32 [299, 299, 3]. */
export async function cleanResize(file: string): Promise<Float32Array> {
  const planes = resizeForCleanFid(await decodeImage(readFileSync(file)), INCEPTION_SIZE)
  const area = INCEPTION_SIZE ** 2
  return Float32Array.from(planes, (_, i) => planes[(i % 3) * area + Math.floor(i / 3)]!)
}

export const sha256 = (values: Float32Array): string =>
  createHash('sha256')
    .update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
    .digest('hex')
