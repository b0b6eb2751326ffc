/**
 * What the tags of a TIFF file say about its pixels, and which of these kinds Pillow 12 reads
 * (src/PIL/TiffImagePlugin.py: `_setup` and its table of pixel kinds). A kind that is not read is the reject
 * `unsupported_format`, with its name.
 */
import { RejectError } from '../../types.js'
import { Tag, type TiffDirectory } from './directory.js'

/** How one pixel becomes RGB. */
export type Pixels =
  /** Unsigned grey of 1, 2, 4 or 8 bits, scaled to 8. */
  | { kind: 'grey'; bits: 1 | 2 | 4 | 8; inverted: boolean }
  /** Grey that is clipped to 0…255. */
  | { kind: 'clipped'; type: 'uint12' | 'uint16' | 'int16' | 'int32' | 'float32' }
  | { kind: 'palette'; bits: 1 | 2 | 4 | 8 }
  /** `named`: the tags say what the samples behind blue are, if there are any. */
  | { kind: 'rgb'; bits: 8 | 16; associatedAlpha: boolean; named: boolean }
  | { kind: 'cmyk'; bits: 8 | 16 }
  | { kind: 'ycc' }

export interface Layout {
  width: number
  height: number
  /** 1 to 8: how the image has to be turned. */
  orientation: number
  compression: number
  /** Bytes of the segments have their bits in reverse order. */
  reversedBits: boolean
  littleEndian: boolean
  bitsPerSample: number
  /** Samples of a pixel that are stored together. */
  samples: number
  /** Planes that are stored one after the other; 1 when all samples are together. */
  planes: number
  pixels: Pixels
  predictor: number
  tiled: boolean
  /** Of a strip or tile. */
  segmentWidth: number
  segmentHeight: number
}

export const COMPRESSION_NAMES: Record<number, string> = {
  1: 'no',
  2: 'CCITT RLE',
  3: 'CCITT G3',
  4: 'CCITT G4',
  5: 'LZW',
  6: 'old-style JPEG',
  7: 'JPEG',
  8: 'deflate',
  32771: 'CCITT RLE with words',
  32773: 'PackBits',
  32809: 'ThunderScan',
  32946: 'deflate',
  34676: 'SGI LogLuv',
  34677: 'SGI LogLuv 24',
  34887: 'LERC',
  34925: 'LZMA',
  34712: 'JPEG 2000',
  50000: 'Zstandard',
  50001: 'WebP',
  50002: 'JPEG XL',
  52546: 'JPEG XL',
}

const PHOTOMETRIC_NAMES: Record<number, string> = {
  0: 'grey (white is 0)',
  1: 'grey',
  2: 'RGB',
  3: 'palette',
  4: 'mask',
  5: 'CMYK',
  6: 'YCbCr',
  8: 'CIE L*a*b*',
  9: 'ICC L*a*b*',
  10: 'ITU L*a*b*',
  32803: 'colour filter array',
  32844: 'LogL',
  32845: 'LogLuv',
  34892: 'linear raw',
}

export function unsupported(what: string): RejectError {
  return new RejectError('unsupported_format', 'decode', `TIFF with ${what} is not read`)
}

/** Throws RejectError `unsupported_format` for kinds that are not read, an Error for sizes that are missing. */
export function readLayout(tags: TiffDirectory): Layout {
  const compression = tags.number(Tag.compression, 1)
  const width = tags.number(Tag.width, 0)
  const height = tags.number(Tag.height, 0)
  if (!(width > 0 && height > 0)) throw new Error('the TIFF file does not say how large its image is')
  const photometric = tags.number(Tag.photometric, 0)
  const reversedBits = tags.number(Tag.fillOrder, 1) === 2
  const separate = tags.number(Tag.planarConfiguration, 1) === 2
  let extras = tags.numbers(Tag.extraSamples)
  let samples = tags.number(Tag.samplesPerPixel, 1)
  let bits = tags.has(Tag.bitsPerSample) ? tags.numbers(Tag.bitsPerSample) : [1]
  // Samples without a meaning, in planes of their own, are passed over.
  if (separate && extras.length > 0 && Math.max(...extras) === 0) {
    bits = bits.slice(0, -extras.length)
    samples -= extras.length
    extras = []
  }
  if (bits.length === 1 && samples > 1 && samples <= 6) bits = new Array<number>(samples).fill(bits[0]!)
  bits = bits.slice(0, Math.max(0, samples))
  const formats = tags.has(Tag.sampleFormat) ? tags.numbers(Tag.sampleFormat) : [1]
  const format = formats.every((value) => value === formats[0]) ? formats[0]! : -1
  const sampleBits = bits.every((value) => value === bits[0]) ? (bits[0] ?? 0) : -1
  const littleEndian = tags.littleEndian
  const pixels =
    bits.length === samples
      ? pixelKind({ photometric, format, reversedBits, bits: sampleBits, samples, extras, littleEndian })
      : undefined
  if (!pixels) throw unsupported(describe(photometric, bits, format, extras, reversedBits))
  const tiled = !tags.has(Tag.stripOffsets)
  const rowsPerStrip = tags.number(Tag.rowsPerStrip, height)
  return {
    width,
    height,
    orientation: readOrientation(tags),
    compression,
    reversedBits,
    littleEndian,
    bitsPerSample: sampleBits,
    samples: separate ? 1 : samples,
    planes: separate ? samples : 1,
    pixels,
    predictor: tags.number(Tag.predictor, 1),
    tiled,
    segmentWidth: tiled ? tags.number(Tag.tileWidth, 0) : width,
    segmentHeight: tiled ? tags.number(Tag.tileHeight, 0) : Math.min(rowsPerStrip, height),
  }
}

function describe(photometric: number, bits: number[], format: number, extras: number[], reversed: boolean): string {
  const name = PHOTOMETRIC_NAMES[photometric] ?? `photometric interpretation ${photometric}`
  const type = ['', 'unsigned', 'signed', 'floating-point'][format] ?? 'other'
  const shown = bits.length > 8 ? `${bits.slice(0, 8).join(', ')}, …` : bits.join(', ')
  const extra = extras.length > 0 ? ` and extra samples ${extras.slice(0, 8).join(', ')}` : ''
  return `${name} of ${type} samples of ${shown} bits${extra}${reversed ? ' in reverse bit order' : ''}`
}

interface Samples {
  photometric: number
  /** 1 unsigned, 2 signed, 3 floating point, -1 mixed. */
  format: number
  reversedBits: boolean
  /** -1: not all the same. */
  bits: number
  samples: number
  extras: number[]
  littleEndian: boolean
}

/** Pillow's table. Undefined: not in it. */
function pixelKind(found: Samples): Pixels | undefined {
  const { photometric, format, bits, samples, extras, reversedBits } = found
  const known = (...lists: number[][]): boolean => lists.some((list) => list.join() === extras.join())
  if (photometric <= 1 && samples === 1 && known([])) return greyKind(found)
  if (format !== 1) return undefined
  if (photometric === 1) {
    const ok = samples === 2 && bits === 8 && known([2]) && !reversedBits
    return ok ? { kind: 'grey', bits: 8, inverted: false } : undefined
  }
  if (photometric === 3) {
    const one = samples === 1 && known([]) && (bits === 1 || bits === 2 || bits === 4 || bits === 8)
    const two = samples === 2 && bits === 8 && known([0], [2]) && !reversedBits
    return one || two ? { kind: 'palette', bits: bits as 1 } : undefined
  }
  if (photometric === 2 && samples === 3 && bits === 8 && known([]))
    return { kind: 'rgb', bits, associatedAlpha: false, named: true }
  if (reversedBits) return undefined
  if (photometric === 2) {
    const associatedAlpha = extras[0] === 1
    const named = samples === 3 + extras.length
    if (bits === 16) {
      const ok = samples === 3 ? known([]) : samples === 4 && known([], [0], [1], [2])
      return ok ? { kind: 'rgb', bits, associatedAlpha, named } : undefined
    }
    const more = [[0], [1], [2]].map(([first]) => [first!, ...new Array<number>(Math.max(0, samples - 4)).fill(0)])
    const ok = bits === 8 && samples >= 4 && samples <= 6 && (known(...more) || (samples === 4 && known([], [999])))
    return ok ? { kind: 'rgb', bits, associatedAlpha, named } : undefined
  }
  if (photometric === 5) {
    const zeros = new Array<number>(Math.max(0, samples - 4)).fill(0)
    const ok = samples >= 4 && known(zeros) && (bits === 8 ? samples <= 6 : bits === 16 && samples === 4)
    return ok ? { kind: 'cmyk', bits: bits as 8 } : undefined
  }
  if (photometric === 6 && bits === 8 && known([])) {
    if (samples === 1) return { kind: 'grey', bits: 8, inverted: false }
    return samples === 3 ? { kind: 'ycc' } : undefined
  }
  return undefined
}

function greyKind({ photometric, format, bits, reversedBits, littleEndian }: Samples): Pixels | undefined {
  const isGrey = photometric === 1
  if (format === 1 && (bits === 1 || bits === 2 || bits === 4 || bits === 8)) {
    return { kind: 'grey', bits, inverted: !isGrey }
  }
  if (format === 2 && bits === 8 && isGrey && !reversedBits) return { kind: 'grey', bits, inverted: false }
  // 16 bits are not inverted: Pillow reads both alike.
  if (format === 1 && bits === 16 && (isGrey ? littleEndian || !reversedBits : littleEndian && !reversedBits)) {
    return { kind: 'clipped', type: 'uint16' }
  }
  if (reversedBits) return undefined
  if (format === 1 && bits === 12 && isGrey && littleEndian) return { kind: 'clipped', type: 'uint12' }
  if (format === 2 && bits === 16 && isGrey) return { kind: 'clipped', type: 'int16' }
  if (bits !== 32) return undefined
  if (format === 3) return { kind: 'clipped', type: 'float32' }
  // Unsigned samples are read as signed ones.
  const isInt = isGrey && (format === 2 || (format === 1 && littleEndian))
  return isInt ? { kind: 'clipped', type: 'int32' } : undefined
}

/** Without the tag, Pillow takes the orientation of the XMP packet. */
function readOrientation(tags: TiffDirectory): number {
  if (tags.has(Tag.orientation)) return tags.number(Tag.orientation, 1)
  const xmp = tags.bytes(Tag.xmp)
  const found = xmp && /tiff:Orientation(?:="|>)([0-9])/.exec(Buffer.from(xmp).toString('latin1'))
  return found ? Number(found[1]) : 1
}
