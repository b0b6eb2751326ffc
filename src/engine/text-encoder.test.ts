import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type ImageModel, openModel } from '../model/index.js'
import { cpuDevice } from './device.js'
import { openTextEncoder, type TextEncoder } from './text-encoder.js'

describe.each([{ many: false }, { many: true }])('text encoder, many: $many', ({ many }) => {
  let model: ImageModel
  let encoder: TextEncoder
  beforeAll(async () => {
    model = await openModel('nano')
    encoder = await openTextEncoder(model, { batchSize: 7, device: cpuDevice({ cores: 2 }), many })
  })
  afterAll(async () => {
    await encoder?.close()
    await model?.close()
  })

  const texts = ['a photo of a ship', 'x', '', 'word '.repeat(100), ...Array.from({ length: 16 }, (_, i) => `cat ${i}`)]

  it('gives a text the same bits alone and among others', async () => {
    const together = await encoder.encode(texts)
    for (const [i, text] of texts.entries()) {
      const alone = await encoder.encode([text])
      expect(alone, text).toEqual(together.slice(i * encoder.dim, (i + 1) * encoder.dim))
    }
    expect(await encoder.encode([...texts].reverse())).toEqual(
      Float32Array.from(
        texts.flatMap((_, i) => [...together.slice((texts.length - 1 - i) * encoder.dim)].slice(0, encoder.dim)),
      ),
    )
  })

  it('gives unit vectors', async () => {
    const [first] = [await encoder.encode(['a red bus'])]
    expect(Math.hypot(...first!)).toBeCloseTo(1, 5)
  })
})
