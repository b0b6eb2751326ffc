/** The parts of the decoder's stage that have laws of their own: fresh discriminators, recipes, the best step. */
import { describe, expect, it } from 'vitest'
import { bestOf } from '../judge.js'
import { freshPatchGan, patchGanGrid, patchGanShapes } from '../patchgan.js'
import { ganSettings, parseDecoderRecipe } from './recipe.js'

const SHAPE = { ndf: 64, layers: 3 }

function spread(values: Float32Array): { mean: number; deviation: number; largest: number } {
  const mean = values.reduce((a, b) => a + b, 0) / values.length
  const deviation = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length)
  return { mean, deviation, largest: values.reduce((most, value) => Math.max(most, Math.abs(value)), 0) }
}

describe('a fresh discriminator', () => {
  const fresh = (name: string, seed = 3): Float32Array => freshPatchGan(name, SHAPE, seed)

  it('has the layers of PatchGAN and the official first weights', () => {
    const shapes = patchGanShapes(SHAPE)
    const sizes = [...shapes].filter(([, shape]) => shape.length === 4).map(([, [to, from]]) => [from, to])
    expect(sizes).toEqual([
      [3, 64],
      [64, 128],
      [128, 256],
      [256, 512],
      [512, 1],
    ])
    const convolution = spread(fresh('main.8.weight'))
    expect(Math.abs(convolution.mean)).toBeLessThan(1e-4)
    expect(convolution.deviation).toBeCloseTo(0.02, 4)
    const norm = spread(fresh('main.9.weight'))
    expect(norm.mean).toBeCloseTo(1, 2)
    expect(norm.deviation).toBeCloseTo(0.02, 2)
    const bias = spread(fresh('main.0.bias'))
    expect(bias.largest).toBeLessThan(48 ** -0.5)
    expect(bias.largest).toBeGreaterThan(0.9 * 48 ** -0.5)
    expect(spread(fresh('main.9.bias')).largest).toBe(0)
    expect([...new Set(fresh('main.9.running_var'))]).toEqual([1])
    expect([...new Set(fresh('main.9.running_mean'))]).toEqual([0])
  })

  it('is a function of the seed, and no two tensors are drawn alike', () => {
    expect(fresh('main.0.weight')).toEqual(fresh('main.0.weight'))
    expect(fresh('main.0.weight', 4)[0]).not.toBe(fresh('main.0.weight')[0])
    const firsts = ['main.0.weight', 'main.2.weight', 'main.5.weight', 'main.11.weight'].map((name) => fresh(name)[0])
    expect(new Set(firsts).size).toBe(4)
  })

  it('gives 30 × 30 logits for 256 × 256 pixels, and none for 16 × 16', () => {
    expect([256, 32, 16].map((side) => patchGanGrid(SHAPE, side))).toEqual([30, 2, 0])
  })
})

describe('a recipe', () => {
  it('of nothing has LightningDiT’s values', () => {
    expect(ganSettings(parseDecoderRecipe('{}', 'r.json'))).toEqual({
      ...{ ndf: 64, layers: 3, disc_loss: 'hinge', disc_weight: 0.5, disc_start: 2501, perceptual_weight: 1 },
      ...{ pixel_loss: 'l1', reduction: 'mean', lr: 1e-4, betas: [0.5, 0.9], eps: 1e-8 },
    })
  })

  it.each([
    ['{"config": {"images": 4}}', 'config: Unrecognized key: "images"'],
    ['{"hyper_parameters": {"lr": 0}}', 'hyper_parameters.lr'],
    ['{"config": {"image_size": 16}}', 'images of 16 are too small for the discriminator'],
    ['config: [', 'is not valid JSON'],
  ])('%s is refused', (text, message) => {
    expect(() => parseDecoderRecipe(text, 'r.json')).toThrow(message)
  })
})

describe('the best step', () => {
  it('is that of the least rFID, where it was measured', () => {
    const records = [
      { step: 1, psnr: 30 },
      { step: 2, psnr: 20, rfid: 5 },
      { step: 3, psnr: 21, rfid: 4 },
    ]
    expect(bestOf(records)).toEqual({ step: 3, by: 'rfid', value: 4 })
  })

  it('else that of the highest PSNR, the first of equal ones; without evaluations there is none', () => {
    const records = [{ step: 1, psnr: 20 }, { step: 2, psnr: 21 }, { step: 3, psnr: 21 }, { step: 4 }]
    expect(bestOf(records)).toEqual({ step: 2, by: 'psnr', value: 21 })
    expect(bestOf([{ step: 1 }])).toBeUndefined()
  })
})
