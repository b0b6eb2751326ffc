/** Small pictures of indexed images, made by sharp and kept in memory up to a bound. */
import sharp, { type Sharp } from 'sharp'
import { decodeImage } from '../../image/decode.js'
import { unpackRawRgb } from '../../image/raw-rgb.js'
import { sniffFormat } from '../../image/sniff.js'
import type { RowReader } from '../row-reader.js'
import { HttpError } from './http.js'
import { readPicture } from './original.js'

export const THUMBNAIL_SIZES = [256, 1024] as const
const CACHE_BYTES = 64 * 2 ** 20
const MAX_PIXELS = 100_000_000
/** Pictures in the making at once; each may hold a decoded image. */
const AT_ONCE = 4

export interface Thumbnails {
  /** WebP, at most `size` pixels wide and high. Throws HttpError 404 when the image is gone, 422 when it is none. */
  get(row: number, size: number): Promise<Uint8Array>
}

/** As people expect to see it: turned as EXIF says. What libvips does not know (BMP) is decoded as the encoder does. */
async function openPicture(bytes: Uint8Array): Promise<Sharp> {
  const stored = unpackRawRgb(bytes)?.image
  if (stored) return sharp(stored.data, { raw: { width: stored.width, height: stored.height, channels: 3 } })
  if (sniffFormat(bytes) !== 'bmp') return sharp(bytes, { limitInputPixels: MAX_PIXELS }).autoOrient()
  const { data, width, height } = await decodeImage(bytes, { maxPixels: MAX_PIXELS, timeoutMs: 30_000 })
  return sharp(data, { raw: { width, height, channels: 3 } })
}

export function createThumbnails(reader: RowReader): Thumbnails {
  const cache = new Map<string, Promise<Uint8Array>>()
  const sizes = new Map<string, number>()
  let bytes = 0
  let running = 0
  const waiting: (() => void)[] = []

  const drop = (key: string): void => {
    bytes -= sizes.get(key) ?? 0
    sizes.delete(key)
    cache.delete(key)
  }
  const make = async (row: number, size: number): Promise<Uint8Array> => {
    if (running >= AT_ONCE) await new Promise<void>((resolve) => waiting.push(resolve))
    running++
    try {
      const [found] = await reader.rows([row])
      const source = await readPicture(found!)
      return await (await openPicture(source))
        .resize({ width: size, height: size, fit: 'inside', withoutEnlargement: true })
        .webp({ quality: 80 })
        .toBuffer()
    } catch (error) {
      if (error instanceof HttpError) throw error
      throw new HttpError(422, 'no_image', 'The file cannot be decoded.')
    } finally {
      running--
      waiting.shift()?.()
    }
  }
  return {
    get(row, size) {
      const key = `${row}/${size}`
      let found = cache.get(key)
      if (found) {
        // The most recently used come last.
        cache.delete(key)
        cache.set(key, found)
        return found
      }
      found = make(row, size)
      cache.set(key, found)
      found.then(
        (made) => {
          if (cache.get(key) !== found) return
          sizes.set(key, made.length)
          bytes += made.length
          for (const oldest of cache.keys()) {
            if (bytes <= CACHE_BYTES) break
            if (sizes.has(oldest)) drop(oldest)
          }
        },
        () => drop(key),
      )
      return found
    },
  }
}
