/**
 * The first directory of a TIFF file: its tags, classic or BigTIFF, in either byte order. An entry whose values
 * lie outside the file ends it, as in Pillow; the last of two entries with one tag counts. Nothing else is
 * followed, so chains and loops of directories cost nothing.
 * Format: TIFF 6.0 (Adobe, 1992), section 2; BigTIFF as libtiff documents it.
 */
export const Tag = {
  width: 256,
  height: 257,
  bitsPerSample: 258,
  compression: 259,
  photometric: 262,
  fillOrder: 266,
  stripOffsets: 273,
  orientation: 274,
  samplesPerPixel: 277,
  rowsPerStrip: 278,
  stripByteCounts: 279,
  planarConfiguration: 284,
  predictor: 317,
  colourMap: 320,
  tileWidth: 322,
  tileHeight: 323,
  tileOffsets: 324,
  tileByteCounts: 325,
  extraSamples: 338,
  sampleFormat: 339,
  yccCoefficients: 529,
  yccSubsampling: 530,
  referenceBlackWhite: 532,
  xmp: 700,
} as const

interface Entry {
  type: number
  count: number
  at: number
}

export interface TiffDirectory {
  readonly littleEndian: boolean
  has(tag: number): boolean
  /** All values of a tag as numbers; empty if there is none. */
  numbers(tag: number): number[]
  /** The first value, or what stands for a missing tag. */
  number(tag: number, missing: number): number
  /** The bytes of a tag's values, as they are in the file. */
  bytes(tag: number): Uint8Array | undefined
}

/** Bytes per value, by type; types that are not here have no values. */
const TYPE_BYTES: Record<number, number> = {
  1: 1,
  2: 1,
  3: 2,
  4: 4,
  5: 8,
  6: 1,
  7: 1,
  8: 2,
  9: 4,
  10: 8,
  11: 4,
  12: 8,
  13: 4,
  16: 8,
}

/** Text and bytes of no type: a number is never stored so. */
const NO_NUMBERS = new Set([2, 7])

/** Reads the tags of the first directory. Throws an Error where there is none. */
export function readDirectory(bytes: Uint8Array): TiffDirectory {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const littleEndian = bytes[0] === 0x49
  const big = bytes[2] === 43 || bytes[3] === 43
  const u16 = (at: number): number => view.getUint16(at, littleEndian)
  const u32 = (at: number): number => view.getUint32(at, littleEndian)
  const u64 = (at: number): number => Number(view.getBigUint64(at, littleEndian))
  const need = (end: number): void => {
    if (end > bytes.length) throw new Error('the TIFF file ends before its directory')
  }
  need(big ? 16 : 8)
  const start = big ? u64(8) : u32(4)
  need(start + (big ? 8 : 2))
  const count = big ? u64(start) : u16(start)
  const [entryBytes, fieldBytes] = big ? [20, 8] : [12, 4]
  const entries = new Map<number, Entry>()
  for (let i = 0, at = start + (big ? 8 : 2); i < count && at + entryBytes <= bytes.length; i++, at += entryBytes) {
    const type = u16(at + 2)
    const values = big ? u64(at + 4) : u32(at + 4)
    const size = values * (TYPE_BYTES[type] ?? 0)
    const field = at + entryBytes - fieldBytes
    const valuesAt = size > fieldBytes ? (big ? u64(field) : u32(field)) : field
    if (valuesAt + size > bytes.length) break
    if (size > 0) entries.set(u16(at), { type, count: values, at: valuesAt })
  }

  const valueAt = (type: number, at: number): number => {
    if (type === 5) return u32(at) / u32(at + 4)
    if (type === 10) return view.getInt32(at, littleEndian) / view.getInt32(at + 4, littleEndian)
    if (type === 3) return u16(at)
    if (type === 4 || type === 13) return u32(at)
    if (type === 6) return view.getInt8(at)
    if (type === 8) return view.getInt16(at, littleEndian)
    if (type === 9) return view.getInt32(at, littleEndian)
    if (type === 11) return view.getFloat32(at, littleEndian)
    if (type === 12) return view.getFloat64(at, littleEndian)
    return type === 16 ? u64(at) : bytes[at]!
  }
  const numbers = (tag: number): number[] => {
    const entry = entries.get(tag)
    if (!entry || NO_NUMBERS.has(entry.type)) return []
    const step = TYPE_BYTES[entry.type]!
    return Array.from({ length: entry.count }, (_, i) => valueAt(entry.type, entry.at + i * step))
  }
  return {
    littleEndian,
    has: (tag) => entries.has(tag),
    numbers,
    number: (tag, missing) => {
      const entry = entries.get(tag)
      return entry && !NO_NUMBERS.has(entry.type) ? valueAt(entry.type, entry.at) : missing
    },
    bytes: (tag) => {
      const entry = entries.get(tag)
      return entry && bytes.subarray(entry.at, entry.at + entry.count * TYPE_BYTES[entry.type]!)
    },
  }
}
