import { readFileSync } from 'node:fs'
import sharp from 'sharp'
import { expect, it } from 'vitest'
import { decodeImage } from './decode.js'

it('says the same of a damaged image, whatever else is decoded meanwhile', async () => {
  const jpeg = readFileSync('fixtures/broken/truncated.jpg')
  const noise = { create: { width: 90, height: 70, channels: 3, background: '#123' } } as const
  const whole = sharp({ ...noise, create: { ...noise.create, noise: { type: 'gaussian', mean: 128, sigma: 40 } } })
  const [png, webp] = [await whole.png().toBuffer(), await whole.webp().toBuffer()]
  const damaged = Array.from({ length: 60 }, (_, i) => {
    const [file, name] = [
      [jpeg, 'JPEG'],
      [png, 'PNG'],
      [webp, 'WebP'],
    ][i % 3] as [Buffer, string]
    return { bytes: file.subarray(0, Math.floor(file.length * 0.6) + i), name }
  })
  const said = damaged.map(({ bytes }) => decodeImage(bytes).then(String, (error: Error) => error.message))
  expect(await Promise.all(said)).toEqual(damaged.map(({ name }) => `the ${name} data are damaged or end too early`))
})
