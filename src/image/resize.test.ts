/** Resampling: the vectors give the bytes of the TypeScript reference, and the reference those of Pillow. */
import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { RgbImage } from '../types.js'
import { coefficients, FILTERS, type Filter } from './resample-weights.js'
import { resizePillow, resizeReference } from './resize.js'
import { resizeSimd } from './resize-simd.js'

/** Noise with flat parts and extremes, the same for the same seed. */
function makeImage(width: number, height: number, seed: number): RgbImage {
  const data = new Uint8Array(width * height * 3)
  let state = seed | 1
  for (let i = 0; i < data.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0
    const kind = (state >>> 24) & 3
    data[i] = kind === 0 ? 0 : kind === 1 ? 255 : (state >>> 16) & 255
  }
  return { data, width, height }
}

/** First digits of SHA-256 of `Image.resize` of makeImage(…, 7) with Pillow 12.0.0. */
const PILLOW: [Filter, number, number, number, number, string][] = [
  ['bilinear', 97, 61, 40, 40, '4105a06604e919dd'],
  ['bilinear', 31, 45, 80, 77, 'd3b048ee58a1ea90'],
  ['bilinear', 64, 50, 64, 25, '484adf3a475c6da3'],
  ['bilinear', 50, 3, 7, 3, '5d8b7f8f04c9862e'],
  ['bicubic', 97, 61, 40, 40, '7fb2b35feb0f3b59'],
  ['bicubic', 31, 45, 80, 77, '2523ca0476aabe92'],
  ['bicubic', 64, 50, 64, 25, 'c2ce1de6ada2e727'],
  ['bicubic', 50, 3, 7, 3, 'fd691c43c2d60da0'],
  ['box', 97, 61, 40, 40, '1df45a440ede8b14'],
  ['box', 31, 45, 80, 77, 'a03cfe32145e9986'],
  ['box', 64, 50, 64, 25, '99b9ab96ea898fff'],
  ['box', 50, 3, 7, 3, '932749de28a86710'],
  ['hamming', 97, 61, 40, 40, '5c159016d14eea13'],
  ['hamming', 31, 45, 80, 77, '1c92b16f23719511'],
  ['hamming', 64, 50, 64, 25, 'ae27609d096c8777'],
  ['hamming', 50, 3, 7, 3, '0fe75486d52d2dc3'],
  ['lanczos', 97, 61, 40, 40, 'f0c2ef01dd155625'],
  ['lanczos', 31, 45, 80, 77, '51b502c058ac4196'],
  ['lanczos', 64, 50, 64, 25, 'da56e8a15b6a2411'],
  ['lanczos', 50, 3, 7, 3, 'b0a2f7b95dbf801c'],
]

describe('resizePillow', () => {
  it('gives the same bytes with vectors as in TypeScript, for any sizes and filters', () => {
    const side = fc.oneof(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 300 }))
    fc.assert(
      fc.property(
        side,
        side,
        side,
        side,
        fc.constantFrom(...FILTERS),
        fc.nat(),
        (inW, inH, outW, outH, filter, seed) => {
          const image = makeImage(inW, inH, seed)
          const axes = {
            ...(inW !== outW && { horizontal: coefficients(inW, outW, filter) }),
            ...(inH !== outH && { vertical: coefficients(inH, outH, filter) }),
          }
          const fast = resizeSimd(image, outW, outH, axes)
          expect(fast).toBeDefined()
          expect(Buffer.compare(fast!.data, resizeReference(image, outW, outH, filter).data)).toBe(0)
        },
      ),
      { numRuns: 400 },
    )
  })

  it('gives the same bytes for images that pass in several bands', () => {
    const image = makeImage(2000, 701, 3)
    for (const filter of ['bilinear', 'box'] as const) {
      expect(
        Buffer.compare(resizePillow(image, 37, 350, filter).data, resizeReference(image, 37, 350, filter).data),
      ).toBe(0)
    }
  })

  it('returns an image of the wanted size as it is', () => {
    const image = makeImage(5, 4, 1)
    expect(resizePillow(image, 5, 4, 'lanczos')).toBe(image)
  })

  it.each(PILLOW)('%s %i×%i → %i×%i is what Pillow gives', (filter, inW, inH, outW, outH, hash) => {
    const { data } = resizePillow(makeImage(inW, inH, 7), outW, outH, filter)
    expect(createHash('sha256').update(data).digest('hex').slice(0, 16)).toBe(hash)
  })
})
