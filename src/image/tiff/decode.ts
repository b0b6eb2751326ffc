/**
 * TIFF → RGB as Pillow 12 gives it: the first directory, every kind of pixel in Pillow's table (layout.ts), strips
 * and tiles, samples together or in planes, turned as the orientation tag says. Lossless compressions are decoded
 * here; segments of WebP and whole files of CCITT and JPEG are handed to libwebp and libtiff by the caller.
 *
 * What is not read is the reject `unsupported_format` with its name; what is damaged is an Error. One segment is
 * in memory at a time.
 */
import { RejectError, type RgbImage } from '../../types.js'
import { applyOrientation } from '../orientation.js'
import { decodeSegment } from './codecs.js'
import { readDirectory, Tag, type TiffDirectory } from './directory.js'
import { COMPRESSION_NAMES, type Layout, readLayout, unsupported } from './layout.js'
import { hasPredictor, undoPredictor } from './predictor.js'
import { highBytes, rowConverter } from './samples.js'
import { type YccTables, yccBlockRowBytes, yccTables, yccToRgb } from './ycc.js'

export interface TiffHelpers {
  /** Throws for sizes that are not to be decoded. */
  checkSize(width: number, height: number): void
  /** Throws once the time is up. */
  checkTime(): void
  /** Pixels of the whole file by libtiff, not turned; CCITT and JPEG only. */
  decodeWhole(kind: 'grey' | 'rgb' | 'cmyk'): Promise<RgbImage>
}

const isCcitt = (compression: number): boolean => compression >= 2 && compression <= 4
const JPEG = 7

export async function decodeTiff(bytes: Uint8Array, helpers: TiffHelpers): Promise<RgbImage> {
  const tags = readDirectory(bytes)
  const layout = readLayout(tags)
  const { width, height, compression, pixels } = layout
  helpers.checkSize(width, height)
  if (compression === JPEG) {
    if (layout.planes > 1) throw unsupported('JPEG compression in planes')
    if (pixels.kind === 'cmyk' || pixels.kind === 'rgb' || pixels.kind === 'ycc') {
      if (layout.bitsPerSample !== 8 || layout.samples > 4) throw unsupported('JPEG compression of such samples')
      return applyOrientation(await helpers.decodeWhole(pixels.kind === 'cmyk' ? 'cmyk' : 'rgb'), layout.orientation)
    }
    if (pixels.kind !== 'grey' || pixels.bits !== 8 || pixels.inverted || layout.samples > 1)
      throw unsupported('JPEG compression of such samples')
    return applyOrientation(await helpers.decodeWhole('grey'), layout.orientation)
  }
  if (isCcitt(compression)) {
    if (layout.bitsPerSample !== 1 || pixels.kind !== 'grey') throw unsupported('CCITT compression of such samples')
    return applyOrientation(await helpers.decodeWhole('grey'), layout.orientation)
  }
  const image = await decodeSegments(bytes, tags, layout, helpers)
  return applyOrientation(image, layout.orientation)
}

interface Segment {
  plane: number
  left: number
  top: number
  bytes: Uint8Array
}

/** Segments may share bytes, within reason. */
const MIN_READ_BYTES = 64 << 20

/** The strips or tiles of the image, top to bottom, plane by plane. */
function* segmentsOf(bytes: Uint8Array, tags: TiffDirectory, layout: Layout): Generator<Segment> {
  const { width, height, segmentWidth, segmentHeight, planes, tiled, compression } = layout
  let offsets = tags.numbers(tiled ? Tag.tileOffsets : Tag.stripOffsets)
  let counts = tags.numbers(tiled ? Tag.tileByteCounts : Tag.stripByteCounts)
  let budget = Math.max(MIN_READ_BYTES, bytes.length * 4)
  const whole = segmentWidth === width && segmentHeight === height && planes === 1
  // Several segments that each hold the whole image: Pillow takes the last.
  if (whole && compression === 1) [offsets, counts] = [offsets.slice(-1), counts.slice(-1)]
  let index = 0
  for (let plane = 0; plane < planes; plane++) {
    for (let top = 0; top < height; top += segmentHeight) {
      for (let left = 0; left < width; left += segmentWidth, index++) {
        const at = offsets[index]
        if (at === undefined || at >= bytes.length) throw new Error('the TIFF file lacks a part of its image')
        // Without compression the size is known, and what the file says of it is not looked at.
        const count = compression === 1 ? undefined : counts[index]
        const end = count === undefined ? bytes.length : Math.min(bytes.length, at + count)
        // Thousands of segments may name the same long bytes that mean nothing.
        budget -= compression === 1 ? 0 : end - at
        if (budget < 0) throw new Error('the segments of the TIFF file are many times as long as the file')
        yield { plane, left, top, bytes: bytes.subarray(at, end) }
      }
    }
  }
}

async function decodeSegments(
  bytes: Uint8Array,
  tags: TiffDirectory,
  layout: Layout,
  helpers: TiffHelpers,
): Promise<RgbImage> {
  const { width, height, segmentWidth, segmentHeight, planes, samples, compression, bitsPerSample, pixels } = layout
  if (!(segmentWidth > 0 && segmentHeight > 0)) throw new Error('the TIFF file has strips or tiles without a size')
  helpers.checkSize(segmentWidth, segmentHeight)
  const out = new Uint8Array(width * height * 3)
  const ycc = pixels.kind === 'ycc' ? yccTables(tags) : undefined
  refuseWrongInPillow(layout, ycc)
  // Planes are gathered as 8-bit samples [H, W, planes] and converted at the end.
  const gathered = planes > 1 ? new Uint8Array(width * height * planes) : undefined
  const planeLayout: Layout = { ...layout, samples: planes, planes: 1, bitsPerSample: 8, pixels: eightBit(layout) }
  const convert = ycc ? undefined : rowConverter(gathered ? planeLayout : layout, tags)
  const rowBytes = ycc ? yccBlockRowBytes(segmentWidth, ycc) : Math.ceil((segmentWidth * samples * bitsPerSample) / 8)
  for (const segment of segmentsOf(bytes, tags, layout)) {
    helpers.checkTime()
    const { plane, left, top } = segment
    const columns = Math.min(segmentWidth, width - left)
    const rows = Math.min(segmentHeight, height - top)
    // Tiles are stored whole, the last strip is not.
    const storedRows = layout.tiled ? segmentHeight : rows
    const size = rowBytes * (ycc ? Math.ceil(storedRows / ycc.down) : storedRows)
    const data = await decodeData(segment.bytes, size, layout)
    if (hasPredictor(compression)) undoPredictor(data, rowBytes, layout)
    if (ycc) {
      yccToRgb(data, Math.ceil(segmentWidth / ycc.across), columns, rows, ycc, (x, y, r, g, b) => {
        const to = ((top + y) * width + left + x) * 3
        out[to] = r
        out[to + 1] = g
        out[to + 2] = b
      })
      continue
    }
    for (let y = 0; y < rows; y++) {
      const row = data.subarray(y * rowBytes, (y + 1) * rowBytes)
      const pixel = (top + y) * width + left
      if (!gathered) convert!(row, columns, out, pixel * 3)
      else {
        const plain = bitsPerSample === 16 ? highBytes(row, layout.littleEndian) : row
        for (let x = 0; x < columns; x++) gathered[(pixel + x) * planes + plane] = plain[x]!
      }
    }
  }
  if (gathered) {
    for (let y = 0; y < height; y++) {
      convert!(gathered.subarray(y * width * planes, (y + 1) * width * planes), width, out, y * width * 3)
    }
  }
  return { data: out, width, height }
}

/** Sound files of which Pillow 12 makes other pixels than their format says. */
function refuseWrongInPillow(layout: Layout, ycc: YccTables | undefined): void {
  const { planes, compression, bitsPerSample, tiled } = layout
  if (ycc && planes > 1) throw unsupported('YCbCr in planes')
  if (ycc && compression === 1) throw unsupported('YCbCr without compression')
  if (ycc && tiled && ycc.across === 4 && ycc.down === 4) throw unsupported('YCbCr with chroma sampling 4×4 in tiles')
  if (planes > 1 && compression === 1 && bitsPerSample === 16) {
    throw unsupported('samples of 16 bits in planes without compression')
  }
  if (planes === 4 && compression === 1 && tiled && layout.pixels.kind === 'rgb' && !layout.pixels.named) {
    throw unsupported('a fourth sample without a meaning in planes of tiles without compression')
  }
}

/**
 * Pixels whose samples were gathered from planes. There libtiff takes a fourth sample without a meaning for an
 * associated alpha, and Pillow divides by it.
 */
function eightBit({ pixels, planes, compression }: Layout): Layout['pixels'] {
  if (pixels.kind === 'rgb') {
    const unnamed = planes === 4 && compression !== 1 && !pixels.named
    return { ...pixels, bits: 8, associatedAlpha: pixels.associatedAlpha || unnamed }
  }
  return pixels.kind === 'cmyk' ? { kind: 'cmyk', bits: 8 } : pixels
}

const REVERSED = Uint8Array.from({ length: 256 }, (_, i) => {
  let out = 0
  for (let bit = 0; bit < 8; bit++) if (i & (1 << bit)) out |= 128 >> bit
  return out
})

/** The bytes of one segment. They may be a view of the file only where nothing is changed in place. */
async function decodeData(stored: Uint8Array, size: number, layout: Layout): Promise<Uint8Array> {
  const { compression } = layout
  const segment = layout.reversedBits ? stored.map((byte) => REVERSED[byte]!) : stored
  const data = await decodeSegment(compression, segment, size)
  if (data) return data
  throw new RejectError(
    'unsupported_format',
    'decode',
    `TIFF with ${COMPRESSION_NAMES[compression] ?? `unknown (number ${compression})`} compression is not read`,
  )
}
