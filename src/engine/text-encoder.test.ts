import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type ImageModel, openModel } from '../model/index.js'
import { cpuDevice } from './device.js'
import { openTextEncoder, runLength, type TextEncoder } from './text-encoder.js'

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

describe('texts at their own length', () => {
  // Texts of 3 to 77 tokens, start and end included, out of order.
  const texts = Array.from({ length: 75 }, (_, i) => `${'cat '.repeat(1 + ((i * 32) % 75))}`)

  it.each(['fp32', 'int8'] as const)('have the bits of the full length, %s', async (precision) => {
    const model = await openModel('nano')
    try {
      const { tokensNeeded, ...full } = model.text!
      expect(tokensNeeded).toBeDefined()
      const device = cpuDevice({ cores: 2, precision })
      const found: Float32Array[] = []
      for (const opened of [model, { ...model, text: full }]) {
        const encoder = await openTextEncoder(opened, { device, batchSize: 8, many: true })
        found.push(await encoder.encode(texts))
        await encoder.close()
      }
      expect(found[0]).toEqual(found[1])
    } finally {
      await model.close()
    }
  })

  it.each([
    [1, 77, 16],
    [16, 77, 16],
    [17, 77, 24],
    [32, 77, 32],
    [33, 77, 48],
    [65, 77, 77],
    [9, 12, 12],
  ])('%i tokens of at most %i run as %i', (needed, length, columns) => {
    expect(runLength(needed, length)).toBe(columns)
  })
})
