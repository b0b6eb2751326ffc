/** Makes folders of real image files of mixed size and format for end-to-end tests. */
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import sharp from 'sharp'

/** A smooth, seeded picture with some texture; no two seeds look alike. */
export function picture(seed: number, width: number, height: number): Buffer {
  const data = Buffer.alloc(width * height * 3)
  const [a, b, c] = [1 + (seed % 7), 1 + (seed % 5), 1 + (seed % 11)]
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const i = (y * width + x) * 3
      data[i] = 127 + 120 * Math.sin((a * x) / width + seed)
      data[i + 1] = 127 + 120 * Math.cos((b * y) / height + seed * 0.7)
      data[i + 2] = ((x * c) ^ (y * a)) & 255
    }
  }
  return data
}

/** An encoded picture. */
export function encodedPicture(
  seed: number,
  width: number,
  height: number,
  format: 'jpeg' | 'png' | 'webp',
): Promise<Buffer> {
  const raw = { width, height, channels: 3 as const }
  return sharp(picture(seed, width, height), { raw })
    .toFormat(format, { quality: 85 })
    .toBuffer()
}

/** Writes `count` pictures into class folders `a`, `b`, `c`; returns their paths relative to `dir`, in listing order. */
export async function writePictures(dir: string, count: number): Promise<string[]> {
  const names: string[] = []
  for (let i = 0; i < count; i++) {
    const format = (['jpeg', 'png', 'webp', 'jpeg'] as const)[i % 4]!
    const name = path.join('abc'[i % 3]!, `img ${String(i).padStart(4, '0')}.${format === 'jpeg' ? 'jpg' : format}`)
    mkdirSync(path.join(dir, path.dirname(name)), { recursive: true })
    writeFileSync(path.join(dir, name), await encodedPicture(i, 40 + ((i * 37) % 300), 40 + ((i * 53) % 260), format))
    names.push(name)
  }
  return names.sort()
}

/** Copies a file under a new name, making folders. */
export function place(from: string, to: string): void {
  mkdirSync(path.dirname(to), { recursive: true })
  copyFileSync(from, to)
}
