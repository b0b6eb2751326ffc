/** JPEGs of 500×375, made of crops of the bundled photographs: as many different ones as a benchmark wants. */
import { mkdirSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import sharp from 'sharp'
import { createRandom } from '../../src/math/random.js'

const IMAGES = fileURLToPath(new URL('../../fixtures/images', import.meta.url))

export async function makePhotographs(folder: string, count: number, seed = 1): Promise<void> {
  mkdirSync(folder, { recursive: true })
  const random = createRandom(seed)
  const names = (readdirSync(IMAGES, { recursive: true }) as string[])
    .filter((name) => /\.(jpg|png)$/.test(name))
    .sort()
  for (let i = 0; i < count; i++) {
    const name = names[i % names.length]!
    const image = sharp(path.join(IMAGES, name)).toColourspace('srgb').removeAlpha().resize(800, 800, { fit: 'cover' })
    const crop = {
      left: Math.floor(random.next() * 300),
      top: Math.floor(random.next() * 425),
      width: 500,
      height: 375,
    }
    await sharp(await image.png().toBuffer())
      .extract(crop)
      .jpeg({ quality: 90 })
      .toFile(path.join(folder, `${String(i).padStart(5, '0')}.jpg`))
  }
}
