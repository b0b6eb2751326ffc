import { describe, expect, it } from 'vitest'
import { openPeerCase, relativeErrors } from '../../../test/support/peers.js'
import { drawLatents, keyNoise, sampleBatch } from './sample-latents.js'

describe('latents drawn from a posterior', () => {
  it.each(['vavae', 'vavae_training_ckpt'])('%s: what the official code draws with the same noise', async (name) => {
    const { golden, expected } = await openPeerCase(name)
    const [mean, logvar, noise, wanted] = await Promise.all(
      ['latents', 'logvar', 'sample_noise', 'latents_sample'].map((key) => golden.readFloat32(key)),
    )
    const error = relativeErrors(drawLatents(mean!, logvar!, noise!), wanted!)
    const { tolerance } = expected.outputs.latents_sample!
    expect(error.rel_l2).toBeLessThanOrEqual(tolerance!.rel_l2)
    expect(error.rel_max).toBeLessThanOrEqual(tolerance!.rel_max)
    await golden.close()
  })

  it('depend on the seed, the key and the mirror, not on the batch', () => {
    const noise = [keyNoise(0, 'a', 64), keyNoise(0, 'b', 64), keyNoise(1, 'a', 64), keyNoise(0, 'a', 64, true)]
    expect(new Set(noise.map((values) => values.join())).size).toBe(4)
    const column = { name: 'latents', dtype: 'float32', shape: [2, 2, 2] } as const
    const mean = Float32Array.from({ length: 24 }, (_, i) => i)
    const logvar = mean.map((value) => -value / 10)
    const settings = { seed: 5, column: { ...column, shape: [2, 2, 2] }, mirrored: false }
    const all = sampleBatch({ mean, logvar }, ['a', 'b', 'c'], settings)
    const alone = sampleBatch({ mean: mean.subarray(8, 16), logvar: logvar.subarray(8, 16) }, ['b'], settings)
    expect(Array.from(all.subarray(8, 16))).toEqual(Array.from(alone))
  })

  it('are standard normals', () => {
    const values = keyNoise(7, 'photo.jpg', 20_000)
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length
    const variance = values.reduce((sum, value) => sum + value * value, 0) / values.length
    expect(mean).toBeCloseTo(0, 1)
    expect(variance).toBeCloseTo(1, 1)
  })
})
