/** The networks and metrics against the official script, pytorch-fid and torchmetrics. */
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { cpuDevice } from '../../src/engine/device.js'
import { decodeImage } from '../../src/image/decode.js'
import { IMAGENET_MEAN, IMAGENET_STD } from '../../src/image/normalize.js'
import { defaultCacheDir } from '../../src/io/cache.js'
import { openSafetensors } from '../../src/io/safetensors.js'
import { type OpenNetwork, openInception, openPairs } from '../../src/metrics/networks/open.js'
import { comparePairs } from '../../src/metrics/pairs/compare.js'
import { openScorePool } from '../../src/metrics/pairs/score-pool.js'
import type { PairScores } from '../../src/metrics/pairs/scores.js'
import { goldenPath } from '../golden.js'
import { hashWeightsFolder } from '../support/hash-weights.js'

const golden = (...parts: string[]): string => goldenPath('metrics', ...parts)
const expected = JSON.parse(readFileSync(golden('expected.json'), 'utf8'))
const options = { cacheDir: defaultCacheDir(), device: cpuDevice({ cores: 2 }), batchSize: 4 }
let weights: string
beforeAll(() => {
  weights = hashWeightsFolder()
})

async function readPixels(...parts: string[]) {
  return decodeImage(readFileSync(golden(...parts)))
}

/** What ToTensor and Normalize make of 8-bit pixels: float32 [3, H, W]. */
function normalise({ data, width, height }: { data: Uint8Array; width: number; height: number }): Float32Array {
  const area = width * height
  const out = new Float32Array(3 * area)
  const f = Math.fround
  for (let i = 0; i < area; i++)
    for (let c = 0; c < 3; c++)
      out[c * area + i] = f(f(f(data[i * 3 + c]! / 255) - f(IMAGENET_MEAN[c]!)) / f(IMAGENET_STD[c]!))
  return out
}

describe('pairs of images', () => {
  let network: OpenNetwork
  const scores: PairScores[] = []
  const pool = openScorePool(1)
  const bytes: { reference: Uint8Array; reconstruction: Uint8Array }[] = []
  beforeAll(async () => {
    network = await openPairs({ lpips: true }, { ...options, dir: weights })
    const floats = await openSafetensors(golden('pairs.safetensors'))
    for (const [i, pair] of expected.pairs.entries()) {
      const original = await readPixels('pairs', pair.original)
      const { width, height } = original
      const image =
        pair.recon_source === 'png'
          ? normalise(await readPixels('pairs', pair.degraded))
          : await floats.readFloat32(`recon_normalised.${i}`)
      const result = await comparePairs(network.session, pool, {
        pixels: original.data.slice(),
        image,
        count: 1,
        height,
        width,
        metrics: { psnr: true, ssim: true, lpips: true },
      })
      scores.push(result.scores[0]!)
      bytes.push(result)
    }
    await floats.close()
  })
  afterAll(() => Promise.all([network.session.close(), pool.close()]))

  it('PSNR, SSIM and LPIPS equal the official script', () => {
    for (const [i, pair] of expected.pairs.entries()) {
      const { psnr, ssim, lpips } = scores[i]!
      if (pair.psnr === 'inf') expect(psnr).toBe(Number.POSITIVE_INFINITY)
      else expect(Math.abs(psnr! - pair.psnr), pair.degraded).toBeLessThan(1e-3)
      expect(Math.abs(ssim! - pair.ssim_float64), pair.degraded).toBeLessThan(1e-6)
      expect(Math.abs(ssim! - pair.ssim), pair.degraded).toBeLessThan(3e-5)
      expect(Math.abs(lpips! - pair.lpips_float64), pair.degraded).toBeLessThanOrEqual(1e-5 * pair.lpips_float64)
    }
  })

  it('the 8-bit images are those that the official script saves, bit for bit', () => {
    const sha = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex')
    for (const [i, pair] of expected.pairs.entries()) {
      expect(sha(bytes[i]!.reference), pair.original).toBe(pair.saved_reference_sha256)
      expect(sha(bytes[i]!.reconstruction), pair.degraded).toBe(pair.saved_recon_sha256)
    }
  })
})

describe('Inception-v3', () => {
  let network: OpenNetwork
  beforeAll(async () => {
    network = await openInception({ flavour: 'pytorch-fid', dims: [64, 192, 768, 2048] }, { ...options, dir: weights })
  })
  afterAll(() => network.session.close())

  it.each(['inception256', 'fid_ref', 'fid_rec'])(
    'features of %s equal pytorch-fid, whatever the batch',
    async (folder) => {
      const want = await openSafetensors(golden('inception.safetensors'))
      const files = readdirSync(golden(folder)).sort()
      const images = await Promise.all(files.map((file) => readPixels(folder, file)))
      const { height, width } = images[0]!
      const batch = await network.session.run({
        pixels: {
          data: Buffer.concat(images.map((i) => i.data)),
          dtype: 'uint8',
          dims: [files.length, height, width, 3],
        },
      })
      const alone = await network.session.run({
        pixels: { data: Uint8Array.from(images.at(-1)!.data), dtype: 'uint8', dims: [1, height, width, 3] },
      })
      for (const [name, info] of want.tensors) {
        if (!name.startsWith(`${folder}.`)) continue
        const key = name.split('.')[1]!
        const got = batch.outputs[key]!.data as Float32Array
        const raw = await want.readBytes(name)
        const reference = new Float64Array(raw.buffer, raw.byteOffset, raw.byteLength / 8)
        let [difference, norm] = [0, 0]
        for (let i = 0; i < reference.length; i++) {
          difference += (got[i]! - reference[i]!) ** 2
          norm += reference[i]! ** 2
        }
        expect(Math.sqrt(difference / norm), name).toBeLessThan(1e-5)
        expect(got.subarray(got.length - info.shape[1]!), name).toEqual(alone.outputs[key]!.data)
      }
      await want.close()
    },
  )
})
