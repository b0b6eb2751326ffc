/** The decoders of WebP on the calling thread against libwebp: the same pixels, the same refusals. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import sharp, { type WebpOptions } from 'sharp'
import { describe, expect, it } from 'vitest'
import { outcome, pixelsOf } from '../../../test/support/decode-outcome.js'
import { picture } from '../../../test/support/images.js'
import { DAMAGES, seededRandom } from '../../../test/support/mutants.js'
import { decodeImage } from '../decode.js'
import { decodeWebp } from './decode-webp.js'

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
  decodeWebp(
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

const side = fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 150 }))

/** Shapes, or a slope with more or less noise, of so many values at most. */
function drawing(kind: number | 'shapes', width: number, height: number, seed: number, values = 256): Uint8Array {
  const pixels = kind === 'shapes' ? picture(seed, width, height) : pixelsOf(width, height, seed, kind)
  const step = 256 / values
  return values === 256 ? pixels : pixels.map((value) => Math.floor(value / step) * step)
}

type Bits = number[][]

/** A code of one symbol, as values with their number of bits. */
const single = (symbol: number): Bits => [
  [1, 1],
  [0, 1],
  [1, 1],
  [symbol, 8],
]

/** A lossless file of such values, the lowest bit first, and some zeros. */
function lossless(width: number, height: number, values: Bits): Buffer {
  const all = [
    [0x2f, 8],
    [width - 1, 14],
    [height - 1, 14],
    [0, 4],
    ...values,
    ...Array.from({ length: 99 }, () => [0, 1]),
  ]
  const bits = all.flatMap(([value, size]) => Array.from({ length: size! }, (_, i) => (value! >> i) & 1))
  const stream = Buffer.alloc(2 * Math.ceil(bits.length / 16))
  bits.forEach((bit, i) => {
    stream[i >> 3]! |= bit << (i & 7)
  })
  const header = Buffer.from('RIFF....WEBPVP8L....', 'latin1')
  header.writeUInt32LE(12 + stream.length, 4)
  header.writeUInt32LE(stream.length, 16)
  return Buffer.concat([header, stream])
}

describe('WebP decoded on the calling thread', () => {
  it('has the pixels of libwebp, for any size, quality and effort', async () => {
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
        const image = raw(drawing(noise as number | 'shapes', width, height, seed), width, height)
        await expectSame(await image.webp(webp as WebpOptions).toBuffer())
      }),
      { numRuns: 300 },
    )
  })

  it('has them where it is lossless, for any size and number of colours, with and without alpha', async () => {
    const settings = fc.record({
      width: side,
      height: side,
      quality: fc.integer({ min: 1, max: 100 }),
      effort: fc.integer({ min: 0, max: 6 }),
      nearLossless: fc.boolean(),
      values: fc.constantFrom(2, 3, 6, 256),
      alpha: fc.constantFrom(1, 0.5),
      noise: fc.constantFrom(0, 0.1, 1, 'shapes'),
      seed: fc.nat(),
    })
    await fc.assert(
      fc.asyncProperty(settings, async ({ width, height, noise, seed, values, alpha, ...webp }) => {
        const image = raw(drawing(noise as number | 'shapes', width, height, seed, values), width, height)
        if (alpha < 1) image.ensureAlpha(alpha)
        await expectSame(await image.webp({ lossless: true, ...webp }).toBuffer())
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

  it('may have alpha, which is checked and dropped', async () => {
    const random = seededRandom(5)
    const rgba = Uint8Array.from({ length: 40 * 30 * 4 }, (_, i) => (i % 4 < 3 ? random() * 256 : (i >> 4) % 200))
    const image = () => sharp(rgba, { raw: { width: 40, height: 30, channels: 4 } })
    for (const alphaQuality of [100, 30]) await expectSame(await image().webp({ alphaQuality }).toBuffer())
    const bytes = await image().webp().toBuffer()
    const chunk = bytes.indexOf('ALPH')
    const size = bytes.readUInt32LE(chunk + 4)
    let read = 0
    for (let i = 0; i < 200; i++) {
      const damaged = Buffer.from(bytes)
      damaged[chunk + 8 + Math.floor(random() * size)] = random() * 256
      expect(await outcome(damaged, 'here'), `round ${i}`).toEqual(await outcome(damaged, 'pool'))
      if (fast(damaged)) read++
    }
    expect(read).toBeGreaterThan(10)
    expect(read).toBeLessThan(190)
  })

  it('is left to libwebp where it is animated, or lossless and large', async () => {
    const large = sharp({ create: { width: 4097, height: 4096, channels: 3, background: 'teal' } })
    expect(fast(await large.webp({ lossless: true, effort: 0 }).toBuffer())).toBeUndefined()
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

  it('becomes them where it is lossless and damaged', async () => {
    const files: Buffer[] = []
    for (const [seed, values, effort] of [
      [1, 256, 4],
      [2, 256, 6],
      [3, 3, 4],
      [4, 2, 0],
    ] as const) {
      const webp = { lossless: true, effort }
      files.push(
        await raw(drawing('shapes', 70, 50, seed, values), 70, 50)
          .webp(webp)
          .toBuffer(),
      )
      files.push(
        await raw(drawing(0.1, 33, 41, seed, values), 33, 41)
          .ensureAlpha(0.5)
          .webp(webp)
          .toBuffer(),
      )
    }
    const random = seededRandom(8)
    let read = 0
    for (let i = 0; i < 50; i++) {
      for (const [damage, apply] of Object.entries(DAMAGES)) {
        const bytes = apply(files[i % files.length]!, random, files[(i + 1) % files.length]!)
        expect(await outcome(bytes, 'here'), `${damage}, round ${i}`).toEqual(await outcome(bytes, 'pool'))
        if (fast(bytes)) read++
      }
    }
    expect(read).toBeGreaterThan(10)
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

  it('has them where an empty place of a lossless cache is asked for, which puts a 0 where that belongs', async () => {
    // A code of the lengths 1, 2, 17 and 18; with it one for green 9 and both places of a cache of two colours.
    const lengths = [
      [0, 1],
      [1, 4],
      [2, 3],
      [2, 3],
      [0, 3],
      [2, 3],
      [2, 3],
      [0, 1],
    ]
    const green = [
      [0b01, 2],
      [6, 3],
      [0b00, 2],
      [0b11, 2],
      [127, 7],
      [0b11, 2],
      [121, 7],
      [0b10, 2],
      [0b10, 2],
    ]
    const others = [...single(0), ...single(0), ...single(255), ...single(0)]
    // Green 9, which has place 0, then place 1, then place 0.
    const pixels = [
      [0, 1],
      [0b11, 2],
      [0b01, 2],
    ]
    const bytes = lossless(3, 1, [[0, 1], [1, 1], [1, 4], [0, 1], ...lengths, ...green, ...others, ...pixels])
    await expectSame(bytes)
    expect(Buffer.from(fast(bytes)!.data)).toEqual(Buffer.from([0, 9, 0, 0, 0, 0, 0, 0, 0]))
  })

  it('is rejected where a lossless cache has no bits', async () => {
    const bytes = (cacheBits: number): Buffer =>
      lossless(2, 2, [[0, 1], [1, 1], [cacheBits, 4], [0, 1], ...[0, 0, 0, 255, 0].flatMap(single)])
    expect(await outcome(bytes(1), 'here')).toEqual(Buffer.alloc(12))
    expect(await outcome(bytes(0), 'here')).toBe('corrupt')
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
