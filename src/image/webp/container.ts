/**
 * The container of a lossy WebP picture (RFC 9649) up to its VP8 key frame (RFC 6386, section 9.1), as far as the
 * decoder of this folder takes it: without alpha and animation, every chunk known, in order and of the size that it
 * says. Undefined for every other file, damaged ones included: libwebp then decides.
 */

export interface LossyFrame {
  width: number
  height: number
  /** What follows the ten bytes of tags: the partition of modes, then those of coefficients. */
  data: Uint8Array
  modeBytes: number
}

const RIFF_HEADER = 12
const CHUNK_HEADER = 8
const FRAME_HEADER = 10
const [ICC_FLAG, EXIF_FLAG, XMP_FLAG] = [0x20, 0x08, 0x04]

/** Chunks of a still picture without alpha in the order of the file, and their flags where they may be left out. */
const EXTENDED_ORDER = ['VP8X', 'ICCP', 'VP8 ', 'EXIF', 'XMP '] as const
const FLAGS: Partial<Record<string, number>> = { ICCP: ICC_FLAG, EXIF: EXIF_FLAG, 'XMP ': XMP_FLAG }

export function readLossyFrame(bytes: Uint8Array): LossyFrame | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (bytes.length < RIFF_HEADER || tagAt(bytes, 0) !== 'RIFF' || tagAt(bytes, 8) !== 'WEBP') return undefined
  if (view.getUint32(4, true) + 8 !== bytes.length) return undefined
  const chunks = readChunks(bytes, view)
  const extended = chunks?.get('VP8X')
  const picture = chunks?.get('VP8 ')
  if (!chunks || !picture || (!extended && chunks.size > 1)) return undefined
  const frame = readFrame(picture)
  return frame && (!extended || fits(extended, chunks, frame)) ? frame : undefined
}

const tagAt = (bytes: Uint8Array, at: number): string => String.fromCharCode(...bytes.subarray(at, at + 4))

/** All chunks by tag; undefined if one is unknown, out of order, there twice or longer than the file. */
function readChunks(bytes: Uint8Array, view: DataView): Map<string, Uint8Array> | undefined {
  const chunks = new Map<string, Uint8Array>()
  let last = -1
  for (let at = RIFF_HEADER; at < bytes.length; ) {
    if (at + CHUNK_HEADER > bytes.length) return undefined
    const tag = tagAt(bytes, at)
    const size = view.getUint32(at + 4, true)
    const place = (EXTENDED_ORDER as readonly string[]).indexOf(tag)
    const end = at + CHUNK_HEADER + size
    if (place <= last || end + (size & 1) > bytes.length) return undefined
    last = place
    chunks.set(tag, bytes.subarray(at + CHUNK_HEADER, end))
    at = end + (size & 1)
  }
  return chunks
}

/** Whether the extended header says what the chunks are. */
function fits(extended: Uint8Array, chunks: Map<string, Uint8Array>, { width, height }: LossyFrame): boolean {
  if (extended.length !== 10) return false
  let flags = 0
  for (const tag of chunks.keys()) flags |= FLAGS[tag] ?? 0
  if (extended[0] !== flags || extended[1] || extended[2] || extended[3]) return false
  return readUint24(extended, 4) + 1 === width && readUint24(extended, 7) + 1 === height
}

const readUint24 = (bytes: Uint8Array, at: number): number =>
  bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16)

function readFrame(picture: Uint8Array): LossyFrame | undefined {
  if (picture.length < FRAME_HEADER) return undefined
  const tag = readUint24(picture, 0)
  const isKeyFrame = (tag & 1) === 0
  const version = (tag >> 1) & 7
  const isShown = (tag & 0x10) !== 0
  if (!isKeyFrame || version > 3 || !isShown || readUint24(picture, 3) !== 0x2a019d) return undefined
  const data = picture.subarray(FRAME_HEADER)
  const modeBytes = tag >> 5
  // The two highest bits of either side ask for scaling, which libwebp leaves out.
  const width = (picture[6]! | (picture[7]! << 8)) & 0x3fff
  const height = (picture[8]! | (picture[9]! << 8)) & 0x3fff
  return width > 0 && height > 0 && modeBytes < data.length ? { width, height, data, modeBytes } : undefined
}
