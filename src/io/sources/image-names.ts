/** File names: which are taken for images, and how names that are not UTF-8 are shown. */
import { isUtf8 } from 'node:buffer'

/** In the order in which a sample's image is chosen among several (WebDataset's users write "jpg;png;…"). */
const EXTENSIONS = [
  'jpg',
  'jpeg',
  'jpe',
  'png',
  'webp',
  'bmp',
  'gif',
  'tif',
  'tiff',
  'ppm',
  'pgm',
  'pbm',
  'pnm',
] as const

/** The rank of an extension (lower case, without a dot) among those of images; −1 for others. */
export function imageExtensionRank(extension: string): number {
  return (EXTENSIONS as readonly string[]).indexOf(extension)
}

/** Whether a name ends like an image's. */
export function isImageName(name: string): boolean {
  const dot = name.lastIndexOf('.')
  return dot >= 0 && imageExtensionRank(name.slice(dot + 1).toLowerCase()) >= 0
}

/** macOS writes `._name` beside a file that has attributes of its own: no image, whatever its extension. */
export function isAppleDouble(name: string): boolean {
  return name.slice(name.lastIndexOf('/') + 1).startsWith('._')
}

/** A name for people and for keys: bytes that are not UTF-8 as \xNN. */
export function displayName(bytes: Buffer): string {
  if (isUtf8(bytes)) return bytes.toString('utf8')
  let out = ''
  for (let at = 0; at < bytes.length; ) {
    // The longest valid character here, else one escaped byte.
    const length = [1, 2, 3, 4].find((n) => at + n <= bytes.length && isUtf8(bytes.subarray(at, at + n)))
    out += length ? bytes.toString('utf8', at, at + length) : `\\x${bytes[at]!.toString(16).padStart(2, '0')}`
    at += length ?? 1
  }
  return out
}
