/** The decoder of JPEGs on the calling thread against libjpeg-turbo: the same pixels, the same refusals. */
import fc from 'fast-check'
import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import { outcome, pixelsOf } from '../../../test/support/decode-outcome.js'
import { DAMAGES, originals, seededRandom } from '../../../test/support/mutants.js'
import { decodeImage } from '../decode.js'
import { decodeBaselineJpeg } from './decode-baseline.js'

/** 45×37 pixels written by Pillow: a restart marker after every two MCUs, and after every row of MCUs. */
const RESTARTS_420 = [
  '/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxOUlNSMj5aYVpQ',
  'YEpRUk//2wBDAQ4ODhMREyYVFSZPNS01T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT0//wAARCAAlAC0D',
  'ASIAAhEBAxEB/8QAGQAAAgMBAAAAAAAAAAAAAAAABAUAAgYD/8QALhAAAQMDAgUCBQUBAAAAAAAAAQIDEQAEIRIxBRNBUWGR8CJxgaHBFCMyUrHx',
  '/8QAGAEBAQEBAQAAAAAAAAAAAAAABAMCBQb/xAAoEQABAwIDCAMBAAAAAAAAAAABAgMRAAQSIUEFMVFhgZGhwSJC4fD/3QAEAAL/2gAMAwEAAhED',
  'EQA/AMnb2/xEplQnoDijmLY6REDzG/v8UQ1b60gRHXP4plbWsEDAOwIH5971plIWMSt1btLmIoZuz1tjBSvv/XB+fsUnctmCuUANwpWqFAg7RBjb',
  'FatKV6VlCYjYlJJ9Ou21Kru1S5oUl3mrT8JPLAn09APFUacaxFLacXgUvaD5LQkx25bta//QzvIayTOCATHvtRqLduISIjsYruhhCVAiVqPVPWKM',
  'SwVpB09OsD/RVlrBOUTyBP5S7W4hNWt7bKQtJAiAO9HJtzqSlGxnAM+zvVba6txcpZCpUpBWBpIOIMRvqgg6RmPpTFjkNqIcASvWEgKTJJwBHfKg',
  'J7mgKLhaQgTKvVeetXFyJFf/0XbdqGWwswIThR2+v/aV3aF3Dxc1mJMEqCoB8jA95PR6X2hc/p0ukPqktoKTPgxBxnfsD2NKbu6bVdhp1SiUkpW4',
  'rCQAJjVgYAyBmZkYMFaWomEjLTn+f0UXaLzgaAg8d2VcGWEAwlBJEAD7ijG7JLglUkjuI+1VF3ZIcDWsH9wtkgEjWBJSCOsdNycb0fb8q4ZDiUKU',
  'ZKVAmCFAwQY8iO2KxcqOGFZDrHbXpU7ZxYTigiv/0s7bcSuA1bF1xxzlqDipXOoJKcSZIkiTmJjGKaXvE3lcLtUaEJK2dYUiUluHFQEwYAhI9B2F',
  'SpXRUy3hBj6q90m1Ybxpy19GinCo8SPC1Ityp645Kn+SCrSSR1J7yTOo9TSK8vHm7dXIffa5jilQ2sIA1BJH8QJiVD5adozKlRtW0qcUkjL4+RPq',
  'l3qElpEjQHrX/9NE9xC6ZWrhvMSpDEs6+WkKUkSgCYkQNXn4jmu6+JPMN8plLZSXVr1PIS6okxuSPFSpSnUpSmQIkgeCa6mzmkFCSQONf//Z',
].join('')
const RESTARTS_422 = [
  '/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxOUlNSMj5aYVpQ',
  'YEpRUk//2wBDAQ4ODhMREyYVFSZPNS01T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT0//wAARCAAlAC0D',
  'ASEAAhEBAxEB/8QAGgAAAgMBAQAAAAAAAAAAAAAABAUAAgMGAf/EAC4QAAIBAwIFAgUEAwAAAAAAAAECEQMEIQASBRMxQVFh8CJxgZHBFCMyoVKx',
  '8f/EABkBAAMBAQEAAAAAAAAAAAAAAAIDBAEFAP/EAC0RAAEDAwMBBwMFAAAAAAAAAAECAxEABCExQWHwBRITUXGRwSKx0TJygaHx/90ABAAD/9oA',
  'DAMBAAIRAxEAPwDk7e3+IlZYT2Bxo6hbHaIgesdff415IC8Gq7RyNKY07PfTGCr+f8cH5+xpPUtqBeUApwzboYEHpEGOmNWW9oFa4qjtN9PhJkZ2',
  '+evTmr8ilkmcEAmPfjRqW9OIURHgxpbyrZtWZxx/G8UNm4e7BNf/0FNK33qBEd8/jTK2tYIGAegIH599dNtiAiVaDrqKVauRFFKr7XKLEdCVJP27',
  '9OmlV3arU2MtXmuvwk8sCft9gPTSg4u7dMYSOf7Iq6+dQhkBSoO2ORv19q9SgisCJdj3XvGjFoF1B29u8D/Y03xEfoZE8/jBpVsuRk1//9GW9tlQ',
  '6kCIA86OW3O5VToZwDPs9dTrcUm3EHJI0rm2jg72aNp2oo0w5gQuGPT6/wDdK7tHuKxqbzEmCWDQD6jA95PYmlRDSTnfGI9dj8Vb2jcd1oAnXnnc',
  'TJ6niUaCAwqEkQAP7GjKdktQS0kjyI/rS7opLZSDCRryaVaOkZGtf//SMtrq3FytENLMhcDaQcQYjrugg7RmPppjQ5FNiKgCvvCgMsknAEecsBPk',
  '6kLKiGkgaz7dfbgxxrVLiSOeuv8Aa3NekLn9OtUiu0mmhUz6GIOM9fAPg6U3d1Ta7FKqzEqSr1GwoAExuwMAZAzMyMGBaQ44ZAyvT9o2139PPSqu',
  '0kPBpOPpjz3+eB6nbFxd2SVBS3g/uGmSASN4ElQR3jt1Jx10fb8q4oioqMxkqwJghgYIMeojxjQvjwhKhpgDOed436NDbtuBAK8Cv//T5224lcCl',
  'bGrUqVOWwqNLzuClcSZIkiTmJjGNNL3idZuF2qbEUvR3hklTTio0BYMAQo+w8DVirVMJUMQk+m50plraIC0x5/k0VULHiR4WyW5atcclq/JBbaSR',
  '3J8yTO49zpFeXlanbtyK9elzKjNFNwgG4KR/ECYlh8tvSMhbtd9akTiBEyYkSd+Ooq6+aSWUA5GDnPEeWM1pW4hdUXbhvMVkoTR38tQzKJQCYkQN',
  '3r8Rzrd+JVqFPlUVplTVd91ZFqsSY6kj01jjSWwVIwTAGdMT+fes7Pt2ylJznOpn32r/2Q==',
].join('')

const [SOS, DQT] = [0xda, 0xdb]

const fast = (bytes: Uint8Array) =>
  decodeBaselineJpeg(
    bytes,
    () => {},
    () => {},
  )

/** Replaces a file's 8-bit quantisers by 16-bit ones, so many times as large. */
function withQuantisers(bytes: Buffer, factor: number): Buffer {
  const parts = [bytes.subarray(0, 2)]
  let at = 2
  for (; bytes[at + 1] !== SOS; at += 2 + bytes.readUInt16BE(at + 2)) {
    const segment = bytes.subarray(at, at + 2 + bytes.readUInt16BE(at + 2))
    if (segment[1] !== DQT) parts.push(segment)
    else {
      const tables = Math.floor((segment.length - 4) / 65)
      const wide = Buffer.from([0xff, DQT, 0, 0, ...new Uint8Array(tables * 129)])
      wide.writeUInt16BE(wide.length - 2, 2)
      for (let i = 0; i < tables; i++) {
        wide[4 + i * 129] = 0x10 | segment[4 + i * 65]!
        for (let k = 0; k < 64; k++) wide.writeUInt16BE(segment[5 + i * 65 + k]! * factor, 5 + i * 129 + 2 * k)
      }
      parts.push(wide)
    }
  }
  return Buffer.concat([...parts, bytes.subarray(at)])
}

describe('baseline JPEGs decoded on the calling thread', () => {
  it('have the pixels of libjpeg-turbo, for any size, quality and sampling', async () => {
    const side = fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 150 }))
    const settings = fc.record({
      width: side,
      height: side,
      quality: fc.integer({ min: 1, max: 100 }),
      chromaSubsampling: fc.constantFrom('4:2:0', '4:4:4'),
      optimiseCoding: fc.boolean(),
      grey: fc.boolean(),
      noise: fc.constantFrom(0, 0.1, 1),
      seed: fc.nat(),
    })
    await fc.assert(
      fc.asyncProperty(settings, async ({ width, height, grey, noise, seed, ...jpeg }) => {
        const picture = sharp(pixelsOf(width, height, seed, noise), { raw: { width, height, channels: 3 } })
        const bytes = await (grey ? picture.toColourspace('b-w') : picture).jpeg(jpeg).toBuffer()
        const image = fast(bytes)
        // Chroma of half width is filtered from five pixels on: narrower images are left to libjpeg-turbo.
        if (!image) {
          expect([width < 5, grey, jpeg.chromaSubsampling]).toEqual([true, false, '4:2:0'])
          return
        }
        expect([image.width, image.height]).toEqual([width, height])
        expect(Buffer.from(image.data).equals((await outcome(bytes, 'pool')) as Buffer)).toBe(true)
      }),
      { numRuns: 300 },
    )
  })

  it('may have restart markers and chroma of half width', async () => {
    for (const text of [RESTARTS_420, RESTARTS_422]) {
      const bytes = Buffer.from(text, 'base64')
      expect(Buffer.from(fast(bytes)!.data)).toEqual(await outcome(bytes, 'pool'))
    }
  })

  it('have the pixels of libjpeg-turbo, overflows included, where quantisers are far too large', async () => {
    for (const factor of [1, 20, 60, 250]) {
      for (const seed of [1, 2, 3]) {
        const picture = sharp(pixelsOf(90, 70, seed, 1), { raw: { width: 90, height: 70, channels: 3 } })
        const bytes = withQuantisers(await picture.blur(3).jpeg({ quality: 30 }).toBuffer(), factor)
        expect(Buffer.from(fast(bytes)!.data).equals((await outcome(bytes, 'pool')) as Buffer), `${factor}`).toBe(true)
      }
    }
  })

  it('may be as wide and high as libjpeg allows and no more', async () => {
    for (const [width, height] of [
      [65_500, 1],
      [1, 65_500],
    ] as const) {
      const bytes = await sharp(pixelsOf(width, height, 1, 1), { raw: { width, height, channels: 3 } })
        .jpeg({ chromaSubsampling: '4:4:4' })
        .toBuffer()
      expect(Buffer.from(fast(bytes)!.data)).toEqual(await outcome(bytes, 'here'))
      // One more fits into the same blocks.
      const size = bytes.indexOf(Buffer.from([0xff, 0xc0])) + (width > height ? 7 : 5)
      bytes.writeUInt16BE(65_501, size)
      expect(await outcome(bytes, 'here')).toBe('corrupt')
    }
  })

  it('are the only ones taken: progressive and CMYK files are left to libjpeg-turbo', async () => {
    const picture = () => sharp(pixelsOf(40, 30, 1, 0.1), { raw: { width: 40, height: 30, channels: 3 } })
    expect(fast(await picture().jpeg().toBuffer())).toBeDefined()
    expect(fast(await picture().jpeg({ progressive: true }).toBuffer())).toBeUndefined()
    expect(fast(await picture().toColourspace('cmyk').jpeg().toBuffer())).toBeUndefined()
  })

  it('become the same pixels or the same reject as in libjpeg-turbo when they are damaged', async () => {
    const files = (await originals()).filter(({ format }) => format === 'jpg').map(({ bytes }) => bytes)
    files.push(Buffer.from(RESTARTS_420, 'base64'), Buffer.from(RESTARTS_422, 'base64'))
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
    expect(read).toBeGreaterThan(25)
  })

  it('end as in libjpeg: what may come behind the pixels is told by whether restart markers are due', async () => {
    const bytes = Buffer.from(RESTARTS_420, 'base64')
    const withEnd = (...end: number[]): Buffer => Buffer.concat([bytes.subarray(0, -2), Buffer.from(end)])
    const pixels = await outcome(bytes, 'here')
    // Tables that are cut off by the end of the file, and comments, do no harm (Pillow 12.0).
    expect(await outcome(withEnd(0xff, 0xfe, 0, 4, 1, 2, 0xff, 0xd9), 'here')).toEqual(pixels)
    expect(await outcome(withEnd(0xff, 0xdb, 0, 4, 1, 2, 0xff, 0xd9), 'here')).toEqual(pixels)
    for (const code of [0x1b, 0xc0, 0xd8, 0xda]) {
      expect(await outcome(withEnd(0xff, code, 0, 4, 1, 2, 0xff, 0xd9), 'here'), `${code}`).toBe('corrupt')
    }
  })

  it('are rejected by their size before they are decoded, and when the time is up', async () => {
    const bytes = await sharp(pixelsOf(40, 30, 1, 0.1), { raw: { width: 40, height: 30, channels: 3 } })
      .jpeg()
      .toBuffer()
    const small = { maxPixels: 1000, timeoutMs: 60_000 }
    await expect(decodeImage(bytes, small, 'here')).rejects.toMatchObject({ code: 'too_many_pixels' })
    const late = { maxPixels: 10_000, timeoutMs: -1 }
    await expect(decodeImage(bytes, late, 'here')).rejects.toMatchObject({ code: 'decode_timeout' })
  })
})
