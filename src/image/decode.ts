/**
 * Bytes → 8-bit RGB, equal to Pillow's `Image.open(f).convert('RGB')`: EXIF orientation and ICC profiles
 * are ignored, alpha and transparency dropped without compositing, the first frame taken, 16-bit grey
 * clipped at 255. JPEG, PNG and WebP go through sharp (libjpeg-turbo, libpng, libwebp), on request most JPEGs and
 * still WebP through the decoders of jpeg/ and webp/, which give the same pixels in less time; TIFF, BMP, GIF and
 * PPM, whose details differ in sharp, have decoders here. docs/preprocessing.md lists what differs.
 */
import type { Sharp } from 'sharp'
import { RejectError, type RgbImage } from '../types.js'
import { decodeBmp } from './bmp.js'
import { cmykToRgb } from './cmyk.js'
import type { ImagePart } from './cropped-resize.js'
import type { HereOptions } from './decode-bands.js'
import { DEFAULT_LIMITS, type DecodeLimits } from './decode-limits.js'
import { decodeGif } from './gif.js'
import { decodeBaselineJpeg } from './jpeg/decode-baseline.js'
import { checkJpeg, type JpegFrame } from './jpeg-check.js'
import { loadSharp } from './load-sharp.js'
import { checkPng } from './png-check.js'
import { decodePpm } from './ppm.js'
import { type ImageFormat, sniffFormat } from './sniff.js'
import { decodeTiff, type TiffHelpers } from './tiff/decode.js'
import { decodeWebp } from './webp/decode-webp.js'

export { DEFAULT_LIMITS, type DecodeLimits }

/**
 * `pool`: sharp decodes in libuv's threads, and the calling thread stays free. `here`: JPEGs and WebP are
 * decoded on the calling thread, in half the processor time; for threads that have nothing else to do.
 */
export type DecodePlace = 'pool' | 'here'

function reject(code: RejectError['code'], message: string, cause?: unknown): RejectError {
  return new RejectError(code, 'decode', message, cause)
}

/** No transform makes sense of longer images, and libvips takes a minute for as many rows as a small file can hold. */
const MAX_SIDE = 1_000_000

/** Throws RejectError `too_many_pixels` or `corrupt` for sizes that are not to be decoded. */
export function checkSize(width: number, height: number, maxPixels: number): void {
  if (!(width > 0 && height > 0)) throw reject('corrupt', `the image is ${width}×${height} pixels`)
  if (width * height > maxPixels) {
    throw reject('too_many_pixels', `${width}×${height} pixels are more than the limit of ${maxPixels}`)
  }
  if (Math.max(width, height) > MAX_SIDE) {
    const message = `${width}×${height} pixels: no side may have more than ${MAX_SIDE}`
    throw new RejectError('too_many_pixels', 'transform', message)
  }
}

/** What the decoders of most images need; interlaced and progressive ones hold more than their pixels. */
const BYTES_PER_PIXEL = 8

/** Throws RejectError `too_many_pixels` for images that are small enough, but need far more memory than others. */
function checkMemory({ width, height }: Size, bytesPerPixel: number, maxPixels: number): void {
  if (width * height * bytesPerPixel <= maxPixels * BYTES_PER_PIXEL) return
  const size = `${width}×${height} pixels of ${Math.round(bytesPerPixel)} bytes each while they are decoded`
  throw reject('too_many_pixels', `${size} need more memory than ${maxPixels} pixels of other images`)
}

/** Every scan of a JPEG file goes through the whole image: 10 s for so many pixels. */
const MAX_SCANNED_PIXELS = 1e10

interface Size {
  width: number
  height: number
}

function checkScans({ width, height, scans }: JpegFrame): void {
  if (scans * width * height <= MAX_SCANNED_PIXELS) return
  throw reject('too_many_pixels', `${scans} scans of ${width}×${height} pixels are more than can be decoded in time`)
}

/**
 * Decodes one image. `here` is for what is decoded on this thread: the part that is wanted, and where pixels go. Throws
 * RejectError (stage `decode`) for anything wrong with it.
 */
export async function decodeImage(
  bytes: Uint8Array,
  limits: DecodeLimits = DEFAULT_LIMITS,
  place: DecodePlace = 'pool',
  here?: HereOptions,
): Promise<RgbImage | ImagePart> {
  if (bytes.length === 0) throw reject('empty', 'the file has 0 bytes')
  const format = sniffFormat(bytes)
  if (!format) throw reject('unsupported_format', 'not a JPEG, PNG, WebP, GIF, BMP, TIFF or PPM file')
  try {
    const check = (width: number, height: number): void => checkSize(width, height, limits.maxPixels)
    if (format === 'bmp') return decodeBmp(bytes, check)
    if (format === 'ppm') return decodePpm(bytes, check)
    if (format === 'gif') return decodeGif(bytes, check)
    if (format === 'jpeg' && place === 'here') {
      const image = decodeBaselineJpeg(bytes, check, stopwatch(limits), here)
      if (image) return image
    }
    if (format === 'webp' && place === 'here') {
      const image = decodeWebp(bytes, check, stopwatch(limits), here)
      if (image) return image
    }
    if (format === 'tiff') return await decodeTiff(bytes, tiffHelpers(bytes, limits, check))
    return await decodeWithSharp(bytes, format, limits)
  } catch (error) {
    if (error instanceof RejectError) throw error
    throw reject('corrupt', error instanceof Error ? error.message : String(error), error)
  }
}

/**
 * What libvips refuses, as rejects in words of our own: libvips keeps its messages in one place for all threads, where
 * those of two images mix, and what a run writes must not depend on that.
 */
async function inLibvips<T>(format: ImageFormat, limits: DecodeLimits, run: () => Promise<T>): Promise<T> {
  const began = performance.now()
  try {
    return await run()
  } catch (error) {
    if (error instanceof RejectError) throw error
    if (performance.now() - began >= libvipsSeconds(limits) * 1000) throw late(limits, error)
    if (error instanceof Error && error.message.startsWith('Input image exceeds pixel limit'))
      throw reject('too_many_pixels', `the image has more than ${limits.maxPixels} pixels`, error)
    throw reject(
      'corrupt',
      `the ${format === 'webp' ? 'WebP' : format.toUpperCase()} data are damaged or end too early`,
      error,
    )
  }
}

const libvipsSeconds = ({ timeoutMs }: DecodeLimits): number => Math.max(1, Math.ceil(timeoutMs / 1000))
const late = ({ timeoutMs }: DecodeLimits, cause?: unknown): RejectError =>
  reject('decode_timeout', `decoding took longer than ${timeoutMs / 1000} s`, cause)

/** Throws once the time is up. */
function stopwatch(limits: DecodeLimits): () => void {
  const end = performance.now() + limits.timeoutMs
  return () => {
    if (performance.now() > end) throw late(limits)
  }
}

/** What the TIFF decoder leaves to libtiff. */
function tiffHelpers(bytes: Uint8Array, limits: DecodeLimits, checkSize: TiffHelpers['checkSize']): TiffHelpers {
  return {
    checkSize,
    checkTime: stopwatch(limits),
    decodeWhole: async (kind) => {
      const image = await openSharp(bytes, 'tiff', limits)
      return inLibvips('tiff', limits, () => decodeKind(image, kind))
    },
  }
}

interface Header {
  width: number
  height: number
  /** How the pixels become RGB. `gray16` is Pillow's mode I;16, whose values convert('RGB') clips at 255. */
  kind: 'rgb' | 'cmyk' | 'gray16'
}

/** Size and kind before anything is decoded. JPEG and PNG headers are read here: it is one trip to libvips less. */
async function readHeader(bytes: Uint8Array, format: ImageFormat, image: Sharp, limits: DecodeLimits): Promise<Header> {
  const { maxPixels } = limits
  if (format === 'jpeg') {
    const frame = checkJpeg(bytes)
    if (frame) {
      checkScans(frame)
      // Coefficients of two bytes are kept from scan to scan.
      if (frame.scans > 1) checkMemory(frame, 2 * frame.samplesPerPixel + 3, maxPixels)
    }
    if (frame) return { ...frame, kind: frame.components === 4 ? 'cmyk' : 'rgb' }
  }
  if (format === 'png') {
    const header = checkPng(bytes)
    const { width, height, bitDepth, colourType } = header
    if (header.interlaced) checkMemory(header, (header.channels * bitDepth) / 8 + 3, maxPixels)
    return { width, height, kind: bitDepth === 16 && colourType === 0 ? 'gray16' : 'rgb' }
  }
  const { width = 0, height = 0, space } = await inLibvips(format, limits, () => image.metadata())
  return { width, height, kind: space === 'cmyk' ? 'cmyk' : 'rgb' }
}

async function openSharp(bytes: Uint8Array, format: ImageFormat, limits: DecodeLimits): Promise<Sharp> {
  const sharp = await loadSharp()
  const options = {
    // 'truncated' lets pass what Pillow lets pass. libtiff makes rows that it cannot read black: an error.
    failOn: format === 'tiff' ? 'error' : 'truncated',
    // checkSize comes first and names the size; this is for headers that two readers understand differently.
    limitInputPixels: limits.maxPixels,
    sequentialRead: true,
    ignoreIcc: true,
    pages: 1,
  } as const
  return sharp(bytes, options).timeout({ seconds: libvipsSeconds(limits) })
}

async function decodeWithSharp(bytes: Uint8Array, format: ImageFormat, limits: DecodeLimits): Promise<RgbImage> {
  const image = await openSharp(bytes, format, limits)
  const { width, height, kind } = await readHeader(bytes, format, image, limits)
  checkSize(width, height, limits.maxPixels)
  return inLibvips(format, limits, async () =>
    kind === 'gray16' ? { data: await clippedGray16(image), width, height } : decodeKind(image, kind),
  )
}

async function decodeKind(image: Sharp, kind: 'grey' | 'rgb' | 'cmyk'): Promise<RgbImage> {
  const pixels =
    kind === 'cmyk'
      ? image.pipelineColourspace('cmyk').toColourspace('cmyk')
      : image.removeAlpha().toColourspace('srgb')
  const { data, info } = await pixels.raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true })
  const { width, height, channels } = info
  if (kind === 'cmyk' && channels === 4) return { data: cmykToRgb(data), width, height }
  if (channels === 1) return { data: grayToRgb(data), width, height }
  if (channels !== 3) throw reject('corrupt', `the decoder gave ${channels} channels`)
  return { data: plain(data), width, height }
}

async function clippedGray16(image: Sharp): Promise<Uint8Array> {
  const { data, info } = await image
    .toColourspace('grey16')
    .raw({ depth: 'ushort' })
    .toBuffer({ resolveWithObject: true })
  const values = new Uint16Array(plain(data).buffer)
  const gray = new Uint8Array(info.width * info.height)
  const step = info.channels
  for (let i = 0; i < gray.length; i++) gray[i] = Math.min(255, values[i * step]!)
  return grayToRgb(gray)
}

/** A Buffer's bytes as an array of their own (its memory may be shared or pooled). */
function plain(data: Buffer): Uint8Array {
  return data.byteLength === data.buffer.byteLength ? new Uint8Array(data.buffer as ArrayBuffer) : Uint8Array.from(data)
}

function grayToRgb(gray: Uint8Array): Uint8Array {
  const out = new Uint8Array(gray.length * 3)
  for (let i = 0, to = 0; i < gray.length; i++, to += 3) out[to] = out[to + 1] = out[to + 2] = gray[i]!
  return out
}
