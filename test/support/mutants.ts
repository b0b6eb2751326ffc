/** Damaged image files by the thousand, the same for the same seed: flipped bits, cuts, splices, lies in headers. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import sharp from 'sharp'
import { picture } from './images.js'

const fixtures = fileURLToPath(new URL('../../fixtures/images', import.meta.url))

export interface Original {
  /** File name extension, and the format in reports. */
  format: string
  bytes: Uint8Array
}

/** mulberry32 (public domain): numbers in [0, 1). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Small sound files of every format and of the variants whose parsers differ. */
export async function originals(): Promise<Original[]> {
  const photo = (seed: number, width: number, height: number) =>
    sharp(picture(seed, width, height), { raw: { width, height, channels: 3 } })
  const frames = Buffer.concat([picture(3, 40, 30), picture(4, 40, 30)])
  const animation = () => sharp(frames, { raw: { width: 40, height: 60, channels: 3, pageHeight: 30 } })
  const fixture = (...name: string[]) => readFileSync(path.join(fixtures, ...name))
  return [
    { format: 'jpg', bytes: await photo(1, 64, 48).jpeg().toBuffer() },
    { format: 'jpg', bytes: await photo(2, 80, 50).jpeg({ progressive: true, chromaSubsampling: '4:4:4' }).toBuffer() },
    { format: 'jpg', bytes: await photo(3, 41, 57).toColourspace('cmyk').jpeg().toBuffer() },
    { format: 'jpg', bytes: await photo(4, 33, 29).greyscale().jpeg().toBuffer() },
    { format: 'png', bytes: await photo(5, 60, 40).png().toBuffer() },
    { format: 'png', bytes: await photo(6, 50, 70).png({ palette: true, progressive: true }).toBuffer() },
    { format: 'png', bytes: await photo(7, 30, 30).ensureAlpha(0.5).toColourspace('rgb16').png().toBuffer() },
    { format: 'webp', bytes: await photo(8, 64, 64).webp().toBuffer() },
    { format: 'webp', bytes: await photo(9, 40, 60).webp({ lossless: true }).toBuffer() },
    { format: 'webp', bytes: await animation().webp({ loop: 0 }).toBuffer() },
    { format: 'gif', bytes: await photo(10, 60, 50).gif().toBuffer() },
    { format: 'gif', bytes: await animation().gif().toBuffer() },
    { format: 'gif', bytes: fixture('things', 'clock.gif').subarray(0, 30_000) },
    { format: 'bmp', bytes: fixture('textures and sky', 'brick.bmp') },
    { format: 'tif', bytes: await photo(11, 40, 40).tiff({ compression: 'lzw' }).toBuffer() },
    { format: 'tif', bytes: await photo(12, 50, 40).tiff({ compression: 'jpeg' }).toBuffer() },
    ...tiffCases().map((bytes) => ({ format: 'tif', bytes })),
    { format: 'ppm', bytes: Buffer.concat([Buffer.from('P6 20 15 255\n'), picture(13, 20, 15)]) },
    { format: 'pgm', bytes: Buffer.from(`P2\n# grey\n12 9\n255\n${picture(14, 6, 6).join(' ')}\n`) },
  ]
}

/** One tiny TIFF of each compression. */
function tiffCases(): Buffer[] {
  const text = readFileSync(fileURLToPath(new URL('../../fixtures/tiff/cases.json', import.meta.url)), 'utf8')
  const cases = JSON.parse(text) as { name: string; file: string; sha256?: string }[]
  const kinds = ['none', 'lzw', 'deflate', 'packbits', 'zstd', 'group3']
  const chosen = kinds.flatMap((kind) => cases.filter(({ name, sha256 }) => sha256 && name.includes(kind)).slice(0, 2))
  return chosen.map(({ file }) => Buffer.from(file, 'base64'))
}

type Damage = (bytes: Uint8Array, random: () => number, other: Uint8Array) => Uint8Array

const at = (random: () => number, length: number): number => Math.floor(random() * length)

export const DAMAGES: Record<string, Damage> = {
  'bits flipped': (bytes, random) => {
    const out = Uint8Array.from(bytes)
    for (let i = 1 + at(random, 20); i > 0; i--) out[at(random, out.length)]! ^= 1 << at(random, 8)
    return out
  },
  'header bytes changed': (bytes, random) => {
    const out = Uint8Array.from(bytes)
    for (let i = 1 + at(random, 4); i > 0; i--) out[at(random, Math.min(64, out.length))] = at(random, 256)
    return out
  },
  'cut short': (bytes, random) => bytes.slice(0, at(random, bytes.length)),
  'continued with another file': (bytes, random, other) =>
    Buffer.concat([bytes.subarray(0, at(random, bytes.length)), other.subarray(at(random, other.length))]),
  'a piece removed': (bytes, random) => {
    const start = at(random, bytes.length)
    return Buffer.concat([bytes.subarray(0, start), bytes.subarray(start + 1 + at(random, 200))])
  },
  'a piece repeated': (bytes, random) => {
    const start = at(random, bytes.length)
    const piece = bytes.subarray(start, start + 1 + at(random, 200))
    return Buffer.concat([bytes.subarray(0, start), piece, piece, bytes.subarray(start)])
  },
  'a range of one value': (bytes, random) => {
    const out = Uint8Array.from(bytes)
    const start = at(random, out.length)
    return out.fill(random() < 0.5 ? 0 : 255, start, start + 1 + at(random, 300))
  },
}

/** Writes `count` damaged files into `dir`; returns their names in listing order. */
export async function writeMutants(dir: string, count: number, seed: number): Promise<string[]> {
  const sound = await originals()
  const kinds = Object.values(DAMAGES)
  const random = seededRandom(seed)
  mkdirSync(dir, { recursive: true })
  const names: string[] = []
  for (let i = 0; i < count; i++) {
    const original = sound[i % sound.length]!
    const damage = kinds[Math.floor(i / sound.length) % kinds.length]!
    const other = sound[at(random, sound.length)]!
    const name = `${String(i).padStart(6, '0')}.${original.format}`
    writeFileSync(path.join(dir, name), damage(original.bytes, random, other.bytes))
    names.push(name)
  }
  return names
}
