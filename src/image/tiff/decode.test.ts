import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { deflateSync } from 'node:zlib'
import fc from 'fast-check'
import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import { picture } from '../../../test/support/images.js'
import { RejectError, type RgbImage } from '../../types.js'
import { DEFAULT_LIMITS, decodeImage } from '../decode.js'

interface PillowCase {
  name: string
  /** Base64. */
  file: string
  width?: number
  height?: number
  /** Of Pillow's RGB; missing where Pillow does not read the file. */
  sha256?: string
}

const cases = JSON.parse(
  readFileSync(new URL('../../../fixtures/tiff/cases.json', import.meta.url), 'utf8'),
) as PillowCase[]

const decode = (bytes: Uint8Array): Promise<RgbImage> => decodeImage(bytes, DEFAULT_LIMITS, 'here')

/** What Pillow reads and this does not. */
const NOT_READ = /LZMA|CIE L\*a\*b\*|in planes|YCbCr without compression/

describe('TIFF files of many kinds', () => {
  it.each(cases)('$name has the pixels that Pillow gives it, or is refused by its name', async (entry) => {
    const file = Buffer.from(entry.file, 'base64')
    const image = await decode(file).catch((error: unknown) => error as RejectError)
    if (image instanceof Error) {
      expect(image).toMatchObject({ name: 'RejectError', code: 'unsupported_format', stage: 'decode' })
      if (entry.sha256) expect(image.message).toMatch(NOT_READ)
      return
    }
    if (!entry.sha256) return
    const { data, width, height } = image
    expect({ width, height }).toEqual({ width: entry.width, height: entry.height })
    expect(createHash('sha256').update(data).digest('hex')).toBe(entry.sha256)
  })

  it('most of those that Pillow reads are read', async () => {
    const read = cases.filter(({ sha256 }) => sha256)
    const results = await Promise.allSettled(read.map(({ file }) => decode(Buffer.from(file, 'base64'))))
    const share = results.filter(({ status }) => status === 'fulfilled').length / read.length
    expect(read.length).toBeGreaterThan(40)
    expect(share).toBeGreaterThan(0.7)
  })
})

/** One strip of RGB. */
function writeTiff(
  { data, width, height }: RgbImage,
  more: { compression?: number; orientation?: number; strip?: Uint8Array; tags?: [tag: number, value: number][] },
): Buffer {
  const strip = more.strip ?? data
  const tags: [number, number][] = [
    [256, width],
    [257, height],
    [258, 8],
    [259, more.compression ?? 1],
    [262, 2],
    [273, 0],
    [274, more.orientation ?? 1],
    [277, 3],
    [279, strip.length],
    ...(more.tags ?? []),
  ]
  const directory = Buffer.alloc(2 + 12 * tags.length + 4)
  tags.find(([tag]) => tag === 273)![1] = 8 + directory.length
  directory.writeUInt16LE(tags.length)
  tags.forEach(([tag, value], i) => {
    directory.writeUInt16LE(tag, 2 + 12 * i)
    directory.writeUInt16LE(4, 4 + 12 * i)
    directory.writeUInt32LE(1, 6 + 12 * i)
    directory.writeUInt32LE(value, 10 + 12 * i)
  })
  return Buffer.concat([Buffer.from('II*\0\x08\0\0\0'), directory, strip])
}

const image: RgbImage = { data: Uint8Array.from(picture(5, 31, 17)), width: 31, height: 17 }

it.each([1, 2, 3, 4, 5, 6, 7, 8])('orientation %i turns as sharp turns a JPEG that carries it', async (orientation) => {
  const { data, info } = await sharp(image.data, { raw: { width: 31, height: 17, channels: 3 } })
    .withMetadata({ orientation })
    .png()
    .toBuffer()
    .then((png) => sharp(png).autoOrient().raw().toBuffer({ resolveWithObject: true }))
  const turned = await decode(writeTiff(image, { orientation }))
  expect([turned.width, turned.height]).toEqual([info.width, info.height])
  expect(Buffer.from(turned.data).equals(data)).toBe(true)
})

it('LZW, PackBits and deflate of any picture give its pixels', async () => {
  const pixels = fc
    .tuple(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 256 }))
    .chain(([width, height, colours]) =>
      fc.record({
        width: fc.constant(width),
        height: fc.constant(height),
        data: fc.array(fc.nat(colours - 1), { minLength: width * height * 3, maxLength: width * height * 3 }),
      }),
    )
  const kind = fc.constantFrom('lzw' as const, 'packbits' as const, 'deflate' as const)
  await fc.assert(
    fc.asyncProperty(pixels, kind, async ({ data, width, height }, compression) => {
      const raw = Buffer.from(data)
      const file = await sharp(raw, { raw: { width, height, channels: 3 } })
        .tiff({ compression, predictor: 'none' })
        .toBuffer()
      expect(Buffer.from((await decode(file)).data).equals(raw)).toBe(true)
    }),
    { numRuns: 60 },
  )
})

it('a long LZW strip runs through full tables', async () => {
  const raw = Buffer.from(picture(9, 300, 200))
  const file = await sharp(raw, { raw: { width: 300, height: 200, channels: 3 } })
    .tiff({ compression: 'lzw', predictor: 'horizontal', tile: true, tileWidth: 128, tileHeight: 128 })
    .toBuffer()
  expect(Buffer.from((await decode(file)).data).equals(raw)).toBe(true)
})

describe('damaged and hostile TIFF files', () => {
  const tooShort = image.data.subarray(0, image.data.length - 4)
  it.each([
    ['raw', writeTiff(image, { strip: tooShort })],
    ['deflate', writeTiff(image, { compression: 8, strip: deflateSync(tooShort) })],
    ['PackBits', writeTiff(image, { compression: 32773, strip: Buffer.from([255, 7]) })],
    ['LZW', writeTiff(image, { compression: 5, strip: Buffer.from([0x80, 0x40]) })],
    ['Zstandard', writeTiff(image, { compression: 50000, strip: Buffer.from('28b52ffd00', 'hex') })],
  ])('%s with too little data is corrupt', async (_, file) => {
    await expect(decode(file)).rejects.toMatchObject({ code: 'corrupt' })
  })

  it('what follows the last pixel of a strip is not looked at', async () => {
    const strip = Buffer.concat([deflateSync(Buffer.concat([image.data, Buffer.alloc(50_000_000)]))])
    const file = writeTiff(image, { compression: 8, strip })
    expect((await decode(file)).data).toEqual(image.data)
  })

  it('a Zstandard window of gigabytes is refused by its name', async () => {
    const strip = Buffer.from('28b52ffd00b0', 'hex')
    await expect(decode(writeTiff(image, { compression: 50000, strip }))).rejects.toMatchObject({
      code: 'unsupported_format',
      message: 'TIFF with a Zstandard window of more than 128 MiB is not read',
    })
  })

  it('tiles that are far larger than the image are refused before they are decoded', async () => {
    const file = writeTiff(image, {
      compression: 8,
      strip: deflateSync(image.data),
      tags: [
        [322, 65536],
        [323, 65536],
        [324, 8],
      ],
    })
    file.writeUInt16LE(999, file.indexOf(Buffer.from([0x11, 1, 4, 0]))) // no strips
    await expect(decode(file)).rejects.toMatchObject({ code: 'too_many_pixels' })
  })

  it.each([
    [34925, 'LZMA'],
    [50001, 'WebP'],
    [6, 'old-style JPEG'],
    [32809, 'ThunderScan'],
    [4711, 'unknown (number 4711)'],
  ])('compression %i is refused as %s', async (compression, name) => {
    await expect(decode(writeTiff(image, { compression }))).rejects.toEqual(
      new RejectError('unsupported_format', 'decode', `TIFF with ${name} compression is not read`),
    )
  })
})
