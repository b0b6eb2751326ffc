/** The decoder of lossy WebP on the calling thread against libwebp: the same pixels, the same refusals. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import sharp, { type WebpOptions } from 'sharp'
import { describe, expect, it } from 'vitest'
import { outcome, pixelsOf } from '../../../test/support/decode-outcome.js'
import { picture } from '../../../test/support/images.js'
import { DAMAGES, seededRandom } from '../../../test/support/mutants.js'
import { decodeImage } from '../decode.js'
import { decodeLossyWebp } from './decode-lossy.js'

/** 45×37 pixels written by libwebp: four partitions of coefficients and as many segments, sharpness 5. */
const FOUR_PARTITIONS = [
  'UklGRpQAAABXRUJQVlA4IIgAAABQBgCdASotACUAPv1qp1A0qKSjuNkoApofiWUAyCApPT5RO8iQB/YXRaRfrooaFMTVjcZMjukvCSTBgAD+3lP180',
  'Juy97k/S89isOpf20si2sDemgebQQez45CRVV47Ggqas6NywHt1Xjr3Ts9srqy4Vr28EWCKTB936ZOw+R+A15sx80CLgAA',
].join('')
/** The same with the simple loop filter, and two partitions. */
const SIMPLE_FILTER = [
  'UklGRnoAAABXRUJQVlA4IG4AAAAyBACdASotACUAFwB8JaQDNSFxrDpxAWUbTk199FdWf4h0rybAaeNy6oAA/t+3WY37J393iMNGLGGGinMfCDJ2bt',
  'yAmMzX7xVAHqBBPhx3sF8gCtooTqzMGEBHmCbSSf/PCQZnLrTSyNrJFcZwAA==',
].join('')
const WRITTEN = [FOUR_PARTITIONS, SIMPLE_FILTER].map((text) => Buffer.from(text, 'base64'))

const coffee = readFileSync(fileURLToPath(new URL('../../../fixtures/images/things/coffee.webp', import.meta.url)))

const fast = (bytes: Uint8Array) =>
  decodeLossyWebp(
    bytes,
    () => {},
    () => {},
  )

const raw = (data: Uint8Array, width: number, height: number) => sharp(data, { raw: { width, height, channels: 3 } })

/** A file's pixels, which have to be taken, and those of libwebp. */
async function expectSame(bytes: Uint8Array, message?: string): Promise<void> {
  const image = fast(bytes)
  expect(image, message).toBeDefined()
  expect(Buffer.from(image!.data).equals((await outcome(bytes, 'pool')) as Buffer), message).toBe(true)
}

describe('lossy WebP decoded on the calling thread', () => {
  it('has the pixels of libwebp, for any size, quality and effort', async () => {
    const side = fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 150 }))
    const settings = fc.record({
      width: side,
      height: side,
      quality: fc.integer({ min: 1, max: 100 }),
      effort: fc.integer({ min: 0, max: 6 }),
      preset: fc.constantFrom('default', 'photo', 'picture', 'drawing', 'icon', 'text'),
      smartSubsample: fc.boolean(),
      smartDeblock: fc.boolean(),
      noise: fc.constantFrom(0, 0.1, 1, 'shapes'),
      seed: fc.nat(),
    })
    await fc.assert(
      fc.asyncProperty(settings, async ({ width, height, noise, seed, ...webp }) => {
        const pixels =
          noise === 'shapes' ? picture(seed, width, height) : pixelsOf(width, height, seed, noise as number)
        const bytes = await raw(pixels, width, height)
          .webp(webp as WebpOptions)
          .toBuffer()
        await expectSame(bytes)
      }),
      { numRuns: 300 },
    )
  })

  it('may have several partitions and segments, the simple loop filter, and be a photograph', async () => {
    for (const bytes of [...WRITTEN, coffee]) await expectSame(bytes)
  })

  it('may be as wide and high as WebP allows', async () => {
    for (const [width, height] of [
      [16_383, 1],
      [1, 16_383],
      [16_383, 18],
    ] as const) {
      await expectSame(
        await raw(pixelsOf(width, height, 1, 1), width, height)
          .webp()
          .toBuffer(),
        `${width}×${height}`,
      )
    }
  })

  it('may have profiles and metadata around it, and is left to libwebp where these are not as announced', async () => {
    const image = raw(pixelsOf(40, 30, 1, 0.1), 40, 30)
      .withIccProfile('srgb')
      .withExif({ IFD0: { Artist: 'Ada' } })
    const bytes = await image.webp().toBuffer()
    await expectSame(bytes)
    const changed = (at: number, value: number): Buffer => {
      const out = Buffer.from(bytes)
      out[at] = value
      return out
    }
    // The flags, the canvas' width, the tag and the size of a chunk.
    for (const [at, value] of [
      [20, 0x08],
      [24, 40],
      [30, 0x58],
      [34, 1],
    ] as const) {
      const other = changed(at, value)
      expect(fast(other), `${at}`).toBeUndefined()
      expect(await outcome(other, 'here'), `${at}`).toEqual(await outcome(other, 'pool'))
    }
    expect(fast(Buffer.concat([bytes, Buffer.from('behind')]))).toBeUndefined()
  })

  it('is the only kind taken: lossless, transparent and animated pictures are left to libwebp', async () => {
    const still = () => raw(pixelsOf(40, 30, 1, 0.1), 40, 30)
    expect(fast(await still().webp().toBuffer())).toBeDefined()
    expect(fast(await still().webp({ lossless: true }).toBuffer())).toBeUndefined()
    expect(fast(await still().ensureAlpha(0.5).webp().toBuffer())).toBeUndefined()
    const frames = Buffer.concat([picture(1, 40, 30), picture(2, 40, 30)])
    const animation = sharp(frames, { raw: { width: 40, height: 60, channels: 3, pageHeight: 30 } })
    expect(fast(await animation.webp({ loop: 0 }).toBuffer())).toBeUndefined()
  })

  it('becomes the same pixels or the same reject as in libwebp when it is damaged', async () => {
    const files = [...WRITTEN]
    for (const [seed, quality] of [
      [1, 5],
      [2, 60],
      [3, 95],
    ] as const) {
      files.push(
        await raw(picture(seed, 70, 50), 70, 50)
          .webp({ quality })
          .toBuffer(),
      )
      files.push(
        await raw(pixelsOf(33, 41, seed, 0.5), 33, 41)
          .webp({ quality, smartDeblock: true })
          .toBuffer(),
      )
    }
    const random = seededRandom(7)
    let read = 0
    for (let i = 0; i < 50; i++) {
      for (const [damage, apply] of Object.entries(DAMAGES)) {
        const bytes = apply(files[i % files.length]!, random, files[(i + 1) % files.length]!)
        const here = await outcome(bytes, 'here')
        expect(here, `${damage}, round ${i}`).toEqual(await outcome(bytes, 'pool'))
        if (fast(bytes)) read++
      }
    }
    expect(read).toBeGreaterThan(50)
  })

  it('has the pixels of libwebp, overflows included, where quantisers and coefficients are far too large', async () => {
    const bytes = await raw(pixelsOf(64, 64, 1, 1), 64, 64)
      .webp({ quality: 100, effort: 0 })
      .toBuffer()
    const modeBytes = bytes.readUIntLE(20, 3) >> 5
    const random = seededRandom(3)
    let read = 0
    for (let i = 0; i < 100; i++) {
      const damaged = Buffer.from(bytes)
      // Anywhere in the partition of modes, which has the quantisers, and early among the coefficients.
      damaged[30 + Math.floor(random() * Math.min(modeBytes, 60))] = Math.floor(random() * 256)
      damaged[30 + modeBytes + Math.floor(random() * 40)] = Math.floor(random() * 256)
      expect(await outcome(damaged, 'here'), `round ${i}`).toEqual(await outcome(damaged, 'pool'))
      if (fast(damaged)) read++
    }
    expect(read).toBeGreaterThan(20)
  })

  it('is left to libwebp where a partition begins as no encoder writes it', async () => {
    const bytes = Buffer.from(WRITTEN[1]!)
    bytes.fill(0xff, 30 + (bytes.readUIntLE(20, 3) >> 5) + 3)
    expect(fast(bytes)).toBeUndefined()
    expect(await outcome(bytes, 'here')).toEqual(await outcome(bytes, 'pool'))
  })

  it('is rejected by its size before it is decoded, and when the time is up', async () => {
    const bytes = await raw(pixelsOf(40, 30, 1, 0.1), 40, 30)
      .webp()
      .toBuffer()
    const small = { maxPixels: 1000, timeoutMs: 60_000 }
    await expect(decodeImage(bytes, small, 'here')).rejects.toMatchObject({ code: 'too_many_pixels' })
    const late = { maxPixels: 10_000, timeoutMs: -1 }
    await expect(decodeImage(bytes, late, 'here')).rejects.toMatchObject({ code: 'decode_timeout' })
  })
})
