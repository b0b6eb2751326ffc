/**
 * Pixels that were decoded before, on their way through the preprocessing of images: a header of our own,
 * then uint8 [H, W, 3]. The header keeps what is known of the original image, so that rows made from stored
 * pixels say the same of it as rows made from its file.
 */
import type { RgbImage } from '../types.js'

const MAGIC = Buffer.from('vtp-rgb8')
/** Magic, four uint32 (height, width, original height, original width), SHA-256. */
const HEADER_BYTES = MAGIC.length + 16 + 32

export interface RawRgb {
  image: RgbImage
  /** Of the file that the pixels came from. */
  original: { width: number; height: number; sha256: Uint8Array }
}

export function packRawRgb({ image, original }: RawRgb): Uint8Array {
  const out = new Uint8Array(HEADER_BYTES + image.data.length)
  out.set(MAGIC)
  const view = new DataView(out.buffer)
  ;[image.height, image.width, original.height, original.width].forEach((value, i) => {
    view.setUint32(MAGIC.length + 4 * i, value, true)
  })
  out.set(original.sha256, MAGIC.length + 16)
  out.set(image.data, HEADER_BYTES)
  return out
}

/** Undefined for anything else than packed pixels. The pixels are a view. */
export function unpackRawRgb(bytes: Uint8Array): RawRgb | undefined {
  if (bytes.length < HEADER_BYTES || !MAGIC.equals(bytes.subarray(0, MAGIC.length))) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  const [height = 0, width = 0, originalHeight = 0, originalWidth = 0] = [0, 1, 2, 3].map((i) =>
    view.getUint32(MAGIC.length + 4 * i, true),
  )
  const data = bytes.subarray(HEADER_BYTES)
  if (data.length !== height * width * 3) return undefined
  const sha256 = bytes.slice(MAGIC.length + 16, HEADER_BYTES)
  return { image: { data, width, height }, original: { width: originalWidth, height: originalHeight, sha256 } }
}
