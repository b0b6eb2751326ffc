/** Identical bytes for every input kind and every transform of the reference data (Pillow 12, torchvision). */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { DEFAULT_LIMITS, decodeImage } from '../../src/image/decode.js'
import { applyTransform, parseTransform } from '../../src/image/transform.js'
import type { RgbImage } from '../../src/types.js'
import { goldenPath } from '../golden.js'

interface Expected {
  decoded: { size_wh: [number, number]; sha256: string }
  resize256?: { sha256: string }
  adm256?: { sha256: string }
  eval224?: { sha256: string }
}

const { files } = JSON.parse(readFileSync(goldenPath('preprocess', 'expected.json'), 'utf8')) as {
  files: Record<string, Expected>
}
const TRANSFORMS = {
  resize256: 'resize(256,256,bilinear)',
  adm256: 'adm-crop(256)',
  eval224: 'resize(256,bicubic)|center-crop(224)',
} as const
const sha256 = ({ data }: RgbImage): string => createHash('sha256').update(data).digest('hex')

describe.each(Object.keys(files))('%s', (name) => {
  const expected = files[name]!

  it.each(['pool', 'here'] as const)('decodes to the bytes of Pillow (%s)', async (place) => {
    const image = await decodeImage(readFileSync(goldenPath('preprocess', 'input', name)), DEFAULT_LIMITS, place)
    expect([image.width, image.height]).toEqual(expected.decoded.size_wh)
    expect(sha256(image)).toBe(expected.decoded.sha256)
  })

  it('is transformed to the bytes of Pillow and torchvision', async () => {
    const image = await decodeImage(readFileSync(goldenPath('preprocess', 'input', name)))
    let compared = 0
    for (const [key, spec] of Object.entries(TRANSFORMS)) {
      const wanted = expected[key as keyof typeof TRANSFORMS]
      if (!wanted) continue
      expect(sha256(applyTransform(image, parseTransform(spec))), spec).toBe(wanted.sha256)
      compared++
    }
    expect(compared).toBeGreaterThan(0)
  })
})
