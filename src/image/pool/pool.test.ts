import { execFileSync } from 'node:child_process'
import sharp from 'sharp'
import { afterEach, describe, expect, it } from 'vitest'
import { encodedPicture } from '../../../test/support/images.js'
import { createRandom } from '../../math/random.js'
import { augment } from '../augment.js'
import { decodeImage } from '../decode.js'
import { flipHorizontal } from '../flip.js'
import { packRawRgb } from '../raw-rgb.js'
import { resizeForCleanFid } from '../resize-float.js'
import { applyTransform, parseTransform } from '../transform.js'
import { openPixelPool, type PixelPool, type PixelResult } from './pool.js'
import type { View } from './views.js'

const SPEC = 'resize(32,32,bilinear)'
const VIEWS: View[] = [
  { kind: 'transform', spec: SPEC },
  { kind: 'transform', spec: SPEC, mirrored: true },
  { kind: 'transform', spec: 'adm-crop(16)' },
  { kind: 'augmented', size: 24, seed: 7 },
  { kind: 'clean-fid', side: 20 },
  { kind: 'original' },
]
let pool: PixelPool
afterEach(() => pool.close())

/** Bytes that may be transferred away. */
const copy = (bytes: Uint8Array): Uint8Array => new Uint8Array(bytes)

async function taken(bytes: Uint8Array, views: View[] = VIEWS): Promise<PixelResult> {
  const result = await pool.run({ bytes: copy(bytes), views })
  if ('reject' in result) throw new Error(result.reject.message)
  return result
}

describe('an image in the pool', () => {
  it.each([
    ['threads', false],
    ['child processes', true],
  ])('gives the views that are asked for, in their order, as the functions make them (%s)', async (_, isolated) => {
    pool = openPixelPool(1, isolated)
    for (const format of ['jpeg', 'png'] as const) {
      const bytes = await encodedPicture(3, 90, 70, format)
      const image = await decodeImage(bytes)
      const resized = applyTransform(image, parseTransform(SPEC))
      const { pictures, width, height } = await taken(bytes)
      expect([width, height]).toEqual([90, 70])
      expect(pictures.map(({ data }) => Buffer.from(data.buffer, data.byteOffset, data.byteLength))).toEqual(
        [
          resized.data,
          flipHorizontal(resized).data,
          applyTransform(image, parseTransform('adm-crop(16)')).data,
          augment(image, 24, createRandom(7)).data,
          resizeForCleanFid(image, 20),
          image.data,
        ].map((data) => Buffer.from(data.buffer, data.byteOffset, data.byteLength)),
      )
      expect(new Set(pictures[0]!.data).size).toBeGreaterThan(20)
    }
  })

  it.each([
    ['threads', false],
    ['child processes', true],
  ])('goes to its place in shared memory (%s)', async (_, isolated) => {
    pool = openPixelPool(1, isolated)
    const bytes = await encodedPicture(3, 90, 70, 'jpeg')
    const { pictures } = await taken(bytes, VIEWS.slice(0, 2))
    const target = new SharedArrayBuffer(10_000)
    const views = VIEWS.slice(0, 2)
    const placed = await pool.run({ bytes: copy(bytes), views, place: { target, offsets: [5000, 100] } })
    expect(placed).toMatchObject({ width: 90, height: 70, pictures: [] })
    const at = (start: number) => Buffer.from(target, start, 32 * 32 * 3)
    expect([at(5000), at(100)]).toEqual(pictures.map(({ data }) => Buffer.from(data as Uint8Array)))
  })

  it('that is stored as pixels is not decoded again, and keeps what is known of its original', async () => {
    pool = openPixelPool(1)
    const data = Uint8Array.from({ length: 6 * 4 * 3 }, (_, i) => i * 3)
    const original = { width: 500, height: 375, sha256: new Uint8Array(32).fill(9) }
    const bytes = packRawRgb({ image: { data, width: 6, height: 4 }, original })
    expect(await taken(bytes, [{ kind: 'original' }])).toEqual({
      ...original,
      pictures: [{ data, width: 6, height: 4 }],
    })
  })

  it('that is too large, or none, is a reject; the limits are those of its request', async () => {
    pool = openPixelPool(1)
    const bytes = await encodedPicture(1, 40, 30, 'png')
    const views: View[] = [{ kind: 'original' }]
    const limits = { maxPixels: 1199, timeoutMs: 60_000 }
    expect(await pool.run({ bytes: copy(bytes), views, limits })).toMatchObject({ reject: { code: 'too_many_pixels' } })
    expect(await pool.run({ bytes: Buffer.from('no image'), views })).toMatchObject({
      reject: { code: 'unsupported_format', stage: 'decode' },
    })
    expect(await pool.run({ bytes: copy(bytes), views })).toMatchObject({ width: 40, height: 30 })
    const line = await sharp({ create: { width: 20_000, height: 1, channels: 3, background: '#123' } })
      .png()
      .toBuffer()
    expect(await pool.run({ bytes: copy(line), views: [{ kind: 'transform', spec: 'adm-crop(256)' }] })).toMatchObject({
      reject: { code: 'too_many_pixels', stage: 'transform' },
    })
  })
})

it('a child that dies while it decodes costs that image; the next one goes to a new child', async () => {
  pool = openPixelPool(1, true)
  const small = await encodedPicture(1, 40, 30, 'png')
  const request = () => ({ bytes: copy(small), views: VIEWS })
  expect(await pool.run(request())).toMatchObject({ width: 40, height: 30 })
  const found = execFileSync('pgrep', ['-P', String(process.pid), '-f', 'pixel-worker'], { encoding: 'utf8' })
  const children = found.trim().split('\n').map(Number)
  // Stopped first: it cannot be done with the image before it is killed.
  for (const pid of children) process.kill(pid, 'SIGSTOP')
  const running = pool.run(request())
  for (const pid of children) process.kill(pid, 'SIGKILL')
  expect(await running).toEqual({
    reject: { code: 'crashed_decoder', stage: 'decode', message: 'the decoder ended with SIGKILL' },
  })
  expect(await pool.run(request())).toMatchObject({ width: 40, height: 30 })
})
