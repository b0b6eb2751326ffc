/**
 * The container of a WebP picture (RFC 9649) up to its VP8 key frame (RFC 6386, section 9.1) or its lossless stream,
 * as far as the decoders of this folder take it: without animation, every chunk known, in order and of the size that
 * it says. Undefined for every other file, damaged ones included: libwebp then decides.
 */

export interface Picture {
  width: number
  height: number
  /** What follows the header of ten or five bytes. */
  data: Uint8Array
}

export interface LossyPicture extends Picture {
  kind: 'lossy'
  /** Length of the first partition, that of modes. Those of coefficients follow. */
  modeBytes: number
  /** What the chunk of alpha holds, if there is one. */
  alpha?: Uint8Array
}

export interface LosslessPicture extends Picture {
  kind: 'lossless'
  hasAlpha: boolean
}

export type WebpPicture = LossyPicture | LosslessPicture

const RIFF_HEADER = 12
const CHUNK_HEADER = 8
const FRAME_HEADER = 10
const STREAM_HEADER = 5
const [ICC_FLAG, ALPHA_FLAG, EXIF_FLAG, XMP_FLAG] = [0x20, 0x10, 0x08, 0x04]

/** Chunks of a still picture in the order of the file, and their flags where they may be left out. */
const EXTENDED_ORDER = ['VP8X', 'ICCP', 'ALPH', 'VP8 ', 'VP8L', 'EXIF', 'XMP ']
const FLAGS: Partial<Record<string, number>> = { ICCP: ICC_FLAG, ALPH: ALPHA_FLAG, EXIF: EXIF_FLAG, 'XMP ': XMP_FLAG }

export function readWebpPicture(bytes: Uint8Array): WebpPicture | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (bytes.length < RIFF_HEADER || tagAt(bytes, 0) !== 'RIFF' || tagAt(bytes, 8) !== 'WEBP') return undefined
  if (view.getUint32(4, true) + 8 !== bytes.length) return undefined
  const chunks = readChunks(bytes, view)
  if (!chunks) return undefined
  const [extended, alpha, frame, stream] = ['VP8X', 'ALPH', 'VP8 ', 'VP8L'].map((tag) => chunks.get(tag))
  if ((stream && (frame || alpha)) || (!extended && chunks.size > 1)) return undefined
  const picture = frame ? readFrame(frame, alpha) : stream && readStream(stream)
  return picture && (!extended || fits(extended, chunks, picture)) ? picture : undefined
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
    const place = EXTENDED_ORDER.indexOf(tag)
    const end = at + CHUNK_HEADER + size
    if (place <= last || end + (size & 1) > bytes.length) return undefined
    last = place
    chunks.set(tag, bytes.subarray(at + CHUNK_HEADER, end))
    at = end + (size & 1)
  }
  return chunks
}

/** Whether the extended header says what the chunks are. */
function fits(extended: Uint8Array, chunks: Map<string, Uint8Array>, picture: WebpPicture): boolean {
  if (extended.length !== 10) return false
  const { width, height } = picture
  let flags = picture.kind === 'lossless' && picture.hasAlpha ? ALPHA_FLAG : 0
  for (const tag of chunks.keys()) flags |= FLAGS[tag] ?? 0
  if (extended[0] !== flags || extended[1] || extended[2] || extended[3]) return false
  return readUint24(extended, 4) + 1 === width && readUint24(extended, 7) + 1 === height
}

const readUint24 = (bytes: Uint8Array, at: number): number =>
  bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16)

function readFrame(frame: Uint8Array, alpha: Uint8Array | undefined): LossyPicture | undefined {
  if (frame.length < FRAME_HEADER) return undefined
  const tag = readUint24(frame, 0)
  const isKeyFrame = (tag & 1) === 0
  const version = (tag >> 1) & 7
  const isShown = (tag & 0x10) !== 0
  if (!isKeyFrame || version > 3 || !isShown || readUint24(frame, 3) !== 0x2a019d) return undefined
  const data = frame.subarray(FRAME_HEADER)
  const modeBytes = tag >> 5
  // The two highest bits of either side ask for scaling, which libwebp leaves out.
  const width = (frame[6]! | (frame[7]! << 8)) & 0x3fff
  const height = (frame[8]! | (frame[9]! << 8)) & 0x3fff
  if (width === 0 || height === 0 || modeBytes >= data.length) return undefined
  return { kind: 'lossy', width, height, data, modeBytes, ...(alpha && { alpha }) }
}

function readStream(stream: Uint8Array): LosslessPicture | undefined {
  if (stream.length < STREAM_HEADER || stream[0] !== 0x2f) return undefined
  // From the lowest bit: width and height less one (14 each), alpha, version.
  const header = (readUint24(stream, 1) | (stream[4]! << 24)) >>> 0
  const [width, height] = [(header & 0x3fff) + 1, ((header >>> 14) & 0x3fff) + 1]
  const [hasAlpha, version] = [((header >>> 28) & 1) === 1, header >>> 29]
  return version === 0 ? { kind: 'lossless', width, height, data: stream.subarray(STREAM_HEADER), hasAlpha } : undefined
}
