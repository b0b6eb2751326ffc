/** Many small JPEG files, for runs in which bookkeeping is the point, not the model. */
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { encodedPicture } from './images.js'

/** Writes `count` pictures of about 64 × 48 pixels into four class folders. */
export async function writeSmallPictures(dir: string, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    const folder = path.join(dir, `class ${i % 4}`)
    mkdirSync(folder, { recursive: true })
    const bytes = await encodedPicture(i, 48 + (i % 32), 40 + (i % 17), 'jpeg')
    writeFileSync(path.join(folder, `${String(i).padStart(5, '0')}.jpg`), bytes)
  }
}

/** Flags of a run over them that is as quick as a real one can be. */
export const QUICK_FLAGS = ['--transform', 'resize(64,64,bilinear)', '--image-size', '64', '--workers', '1']
