import sharp from 'sharp'
import type { RgbImage } from '../types.js'

/** Encodes as 8-bit RGB PNG without metadata; the same pixels give the same bytes. */
export async function encodePng({ data, width, height }: RgbImage): Promise<Uint8Array> {
  return sharp(data, { raw: { width, height, channels: 3 } })
    .png({ compressionLevel: 6 })
    .toBuffer()
}

/** Encodes as JPEG: for pictures that people look at, never for data. */
export async function encodeJpeg({ data, width, height }: RgbImage): Promise<Uint8Array> {
  return sharp(data, { raw: { width, height, channels: 3 } })
    .jpeg({ quality: 82 })
    .toBuffer()
}
