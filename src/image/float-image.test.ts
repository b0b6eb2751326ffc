import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { goldenPath } from '../../test/golden.js'
import { openSafetensors } from '../io/safetensors.js'
import { decodeImage } from './decode.js'
import { applyFloatTransform, applyTransform, parsePixelTransform, parseTransform } from './transform.js'

/** The transforms of the families' protocols, by their names in the reference data. */
const SPECS = {
  openai_clip_224: 'resize(224,bicubic)|center-crop(224)',
  siglip_squash_256: 'resize(256,256,bicubic)',
  dinov2_mae_224: 'resize(256,bicubic)|center-crop(224)',
  dinov2_448: 'resize(448,bicubic)|center-crop(448)',
  unitok_lanczos_288_256: 'resize(288,lanczos)|center-crop(256)',
  unitok_inference_bilinear_288_256: 'resize(288,bilinear)|center-crop(256)',
  unitok_clip_256: 'resize(256,bicubic)|center-crop(256)',
  rae_vavae_adm_256: 'adm-crop(256)',
  vilau_squash_256: 'resize(256,256,bicubic)',
  unitok_fid_center_crop_256: 'center-crop(256)',
}
interface Expected {
  results: Record<
    string,
    Record<string, { sha256?: string; mean?: number; std?: number; sha256_of_u8_reference?: string }>
  >
}
const { results } = JSON.parse(readFileSync(goldenPath('peers', 'preprocess', 'expected.json'), 'utf8')) as Expected
const photo = (name: string) =>
  decodeImage(readFileSync(goldenPath('preprocess', 'input', name)), { maxPixels: 1e8, timeoutMs: 60_000 }, 'here')
const sha256 = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex')

describe('the families’ transforms have the bytes of their own code', () => {
  it.each(Object.keys(results))('%s', async (name) => {
    const image = await photo(name)
    const made = Object.entries(SPECS).map(([key, spec]) => [
      key,
      sha256(applyTransform(image, parseTransform(spec)).data),
    ])
    const wanted = Object.keys(SPECS).map((key) => [key, results[name]![key]!.sha256])
    expect(made).toEqual(wanted)
  })
})

describe('float-resize', () => {
  const transform = parseTransform('float-resize(256)|center-crop(256)')

  it.each(Object.keys(results))('%s: the moments and the 8 bits of VA-VAE’s references', async (name) => {
    const { data } = applyFloatTransform(await photo(name), transform)
    const { mean, std, sha256_of_u8_reference } = results[name]!.vavae_eval_float!
    const values = Float64Array.from(data)
    const average = values.reduce((sum, value) => sum + value, 0) / values.length
    const variance = values.reduce((sum, value) => sum + (value - average) ** 2, 0) / (values.length - 1)
    expect(average).toBeCloseTo(mean!, 6)
    expect(Math.sqrt(variance)).toBeCloseTo(std!, 6)
    const f = Math.fround
    const bytes = Uint8Array.from(data, (value) => {
      const signed = f(f(value - 0.5) / 0.5)
      return Math.trunc(Math.min(255, Math.max(0, f(f(127.5 * signed) + 128))))
    })
    expect(sha256(bytes)).toBe(sha256_of_u8_reference)
  })

  it('every value of the rows that are there', async () => {
    const golden = await openSafetensors(goldenPath('peers', 'preprocess', 'cases.safetensors'))
    for (const key of golden.tensors.keys()) {
      const [what, ...name] = key.split('.')
      if (what !== 'vavae_eval_float') continue
      const wanted = await golden.readFloat32(key)
      const { data } = applyFloatTransform(await photo(name.join('.')), transform)
      const worst = wanted.reduce((most, value, i) => {
        const [c, pixel] = [Math.floor(i / (64 * 256)), i % (64 * 256)]
        return Math.max(most, Math.abs(value - data[pixel * 3 + c]!))
      }, 0)
      expect(worst).toBeLessThanOrEqual(2e-6)
    }
    await golden.close()
  })

  it('pads what is smaller than the crop, and is only for those who take floats', () => {
    const image = { data: new Uint8Array(4 * 2 * 3).fill(200), width: 4, height: 2 }
    const { data, width, height } = applyFloatTransform(image, parseTransform('float-resize(2)|center-crop(6)'))
    expect([width, height, data.filter((value) => value === Math.fround(200 / 255)).length]).toEqual([6, 6, 4 * 2 * 3])
    expect(() => parsePixelTransform('float-resize(2)|center-crop(2)')).toThrow(/not rounded to 8 bits/)
    expect(() => parseTransform('center-crop(2)|float-resize(2)|center-crop(2)')).toThrow(/comes first/)
    expect(() => parseTransform('float-resize(2,lanczos)|center-crop(2)')).toThrow(/bilinear, bicubic/)
  })
})
