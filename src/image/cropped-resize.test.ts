/** A crop of a smaller image, made of no more than it looks at, against the same by whole images, step by step. */
import fc from 'fast-check'
import sharp, { type Sharp } from 'sharp'
import { describe, expect, it } from 'vitest'
import { DAMAGES, originals, seededRandom } from '../../test/support/mutants.js'
import { RejectError, type RgbImage } from '../types.js'
import { cropImage, type ImageSides } from './crop.js'
import { isPart, wantedPart } from './cropped-resize.js'
import { DEFAULT_LIMITS, decodeImage } from './decode.js'
import { resizePillow } from './resize.js'
import { roundHalfEven } from './round.js'
import { applyTransform, parseTransform, type Transform } from './transform.js'

/** center_crop_arr of the reference, line by line. */
function wholeAdmCrop(image: RgbImage, size: number): RgbImage {
  let arr = image
  while (Math.min(arr.width, arr.height) >= 2 * size) arr = resizePillow(arr, arr.width >> 1, arr.height >> 1, 'box')
  const scale = size / Math.min(arr.width, arr.height)
  arr = resizePillow(arr, roundHalfEven(arr.width * scale), roundHalfEven(arr.height * scale), 'bicubic')
  return cropImage(arr, (arr.width - size) >> 1, (arr.height - size) >> 1, size, size)
}

/** torchvision's Resize(size) and CenterCrop(crop) of images that the crop fits into. */
function wholeCenterCrop(image: RgbImage, size: number, crop: number): RgbImage {
  const [short, long] = [Math.min(image.width, image.height), Math.max(image.width, image.height)]
  const other = Math.trunc((size * long) / short)
  const [width, height] = image.width <= image.height ? [size, other] : [other, size]
  const resized = resizePillow(image, width, height, 'bicubic')
  return cropImage(resized, roundHalfEven((width - crop) / 2), roundHalfEven((height - crop) / 2), crop, crop)
}

function noise({ width, height }: ImageSides, seed: number): RgbImage {
  const random = seededRandom(seed)
  return { width, height, data: Uint8Array.from({ length: width * height * 3 }, () => random() * 256) }
}

/** What two images are compared by. */
const seen = ({ data, ...rest }: RgbImage) => ({ ...rest, pixels: Buffer.from(data).toString('base64') })

const wantOf = (transform: Transform) => (whole: ImageSides) => wantedPart(transform.steps, whole)

/** A JPEG with that sampling or grey, or a WebP. */
function fileOf(picture: Sharp, kind: '4:2:0' | '4:4:4' | 'grey' | 'lossy' | 'lossless'): Promise<Buffer> {
  if (kind === 'lossy' || kind === 'lossless') return picture.webp({ lossless: kind === 'lossless' }).toBuffer()
  if (kind === 'grey') return picture.toColourspace('b-w').jpeg().toBuffer()
  return picture.jpeg({ chromaSubsampling: kind }).toBuffer()
}

const side = fc.oneof(
  fc.integer({ min: 1, max: 40 }),
  fc.integer({ min: 1, max: 20 }).map((n) => 8 * n),
)
const sizes = fc.record({ width: side, height: side })

describe('a crop of a smaller image', () => {
  it('has the pixels that cropping the whole smaller image gives', () => {
    fc.assert(
      fc.property(sizes, fc.integer({ min: 4, max: 20 }), fc.nat(), (sides, size, seed) => {
        const image = noise(sides, seed)
        const adm = parseTransform(`adm-crop(${size})`)
        expect(seen(applyTransform(image, adm))).toEqual(seen(wholeAdmCrop(image, size)))
        const crop = Math.max(1, size - (seed % 4))
        const centre = parseTransform(`resize(${size},bicubic)|center-crop(${crop})`)
        expect(seen(applyTransform(image, centre))).toEqual(seen(wholeCenterCrop(image, size, crop)))
      }),
      { numRuns: 200 },
    )
  })

  it('is the same of the part of a file that it looks at, for any size, sampling and number of halvings', async () => {
    const settings = fc.record({
      sides: sizes,
      size: fc.constantFrom(4, 5, 8, 16, 30),
      kind: fc.constantFrom('4:2:0', '4:4:4', 'grey', 'lossy', 'lossless'),
      seed: fc.nat(),
    })
    let halved = 0
    await fc.assert(
      fc.asyncProperty(settings, async ({ sides, size, kind, seed }) => {
        const picture = sharp(noise(sides, seed).data, { raw: { ...sides, channels: 3 } }).blur(1.5)
        const bytes = await fileOf(picture, kind)
        const whole = await decodeImage(bytes)
        for (const spec of [`adm-crop(${size})`, `resize(${size},bicubic)|center-crop(${size - 1})|hflip`]) {
          const transform = parseTransform(spec)
          const part = await decodeImage(bytes, DEFAULT_LIMITS, 'here', { wantPart: wantOf(transform) })
          if (isPart(part)) expect(part.of).toEqual(sides)
          if (isPart(part) && spec.startsWith('adm') && Math.min(sides.width, sides.height) >= 2 * size) halved++
          expect(seen(applyTransform(part, transform)), spec).toEqual(seen(applyTransform(whole, transform)))
        }
      }),
      { numRuns: 300 },
    )
    expect(halved).toBeGreaterThan(20)
  })

  it('is rejected for damage anywhere in the image, also where nobody looks', async () => {
    const transform = parseTransform('adm-crop(8)')
    const outcome = async (bytes: Uint8Array, want = wantOf(transform)): Promise<unknown> => {
      try {
        return seen(applyTransform(await decodeImage(bytes, DEFAULT_LIMITS, 'here', { wantPart: want }), transform))
      } catch (error) {
        if (error instanceof RejectError) return error.code
        throw error
      }
    }
    const files = (await originals()).filter(({ format }) => /jpg|webp/.test(format)).map(({ bytes }) => bytes)
    const random = seededRandom(11)
    let rejects = 0
    for (let i = 0; i < 40; i++) {
      for (const [damage, apply] of Object.entries(DAMAGES)) {
        const bytes = apply(files[i % files.length]!, random, files[(i + 1) % files.length]!)
        const part = await outcome(bytes)
        expect(part, `${damage}, round ${i}`).toEqual(await outcome(bytes, () => undefined))
        if (typeof part === 'string') rejects++
      }
    }
    expect(rejects).toBeGreaterThan(25)
  })
})
