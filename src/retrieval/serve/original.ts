/** The bytes of an indexed image for a browser, as they are where the image lies. */
import { encodePng } from '../../image/png.js'
import { unpackRawRgb } from '../../image/raw-rgb.js'
import { type ImageFormat, sniffFormat } from '../../image/sniff.js'
import { RejectError } from '../../types.js'
import { readIndexedImage } from '../image-bytes.js'
import type { IndexRow } from '../segments.js'
import { HttpError } from './http.js'

const TYPES: Record<ImageFormat, string> = {
  jpeg: 'image/jpeg',
  png: 'image/png',
  webp: 'image/webp',
  gif: 'image/gif',
  bmp: 'image/bmp',
  tiff: 'image/tiff',
  ppm: 'image/x-portable-pixmap',
}

/**
 * Encoded bytes, or stored pixels packed. Only what the encoder reads, too: no SVG, no PDF, whatever libvips was built
 * with. Throws HttpError 404 when the image is gone, 422 when it is none.
 */
export async function readPicture(row: IndexRow): Promise<Uint8Array> {
  let bytes: Uint8Array
  try {
    bytes = await readIndexedImage(row)
  } catch (error) {
    if (row.at?.kind === 'line' && !(error instanceof RejectError && error.code === 'corrupt')) {
      const why = 'the signature may have expired, or the list it came from has changed'
      throw new HttpError(404, 'signature_gone', `The image’s signed address cannot be read any more: ${why}.`)
    }
    if (error instanceof RejectError && error.code !== 'corrupt')
      throw new HttpError(404, 'missing', 'The image file is gone.')
    throw new HttpError(422, 'no_image', 'The file cannot be decoded.')
  }
  if (!unpackRawRgb(bytes) && !sniffFormat(bytes))
    throw new HttpError(422, 'no_image', 'The file is not an image any more.')
  return bytes
}

/** The original with its type; stored pixels as PNG. */
export async function readOriginal(row: IndexRow): Promise<{ bytes: Uint8Array; type: string; name: string }> {
  const bytes = await readPicture(row)
  const name = row.key.split('/').at(-1)!
  const stored = unpackRawRgb(bytes)?.image
  if (stored) return { bytes: await encodePng(stored), type: TYPES.png, name: `${name}.png` }
  return { bytes, type: TYPES[sniffFormat(bytes)!], name }
}
