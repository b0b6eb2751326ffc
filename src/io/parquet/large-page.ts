/**
 * A large page of a file on a disk: of its values only the places are kept, and each is read when it is wanted.
 * Writers in use put up to 1,024 images into one page, whatever its size. Works for byte arrays that are stored plain,
 * in pages without compression or in Snappy's; every other page is decoded as a whole.
 */
import type { PageHeader } from 'hyparquet'
import { getMaxDefinitionLevel } from 'hyparquet/src/schema.js'
import type { ColumnDecoder } from 'hyparquet/src/types.js'
import { type RangeReader, windowed } from '../range-reader.js'
import { readLevels } from './check-page.js'
import { type Page, readAll } from './pages.js'
import { readSnappyRange, snappyFragments } from './snappy-fragments.js'

type ReadBytes = (offset: number, size: number) => Promise<Uint8Array>

/** A value that is not read yet. */
export class ValuePlace {
  constructor(
    private readonly readBody: ReadBytes,
    private readonly offset: number,
    private readonly size: number,
  ) {}

  read(): Promise<Uint8Array> {
    return this.readBody(this.offset, this.size)
  }
}

/** Bytes of a value's place, as they count for a cache. */
export const PLACE_BYTES = 64

/** Bytes that are decompressed for the length of a value. */
const LENGTH_WINDOW_BYTES = 4096

/**
 * Places of a page's values, null where there is none; undefined for a page of another kind. `page` is where it lies
 * with its header, whose `size` is in bytes.
 */
export async function largePageValues(
  reader: RangeReader,
  page: Pick<Page, 'start' | 'end'>,
  { header, size: headerSize }: { header: PageHeader; size: number },
  { element, type, codec, schemaPath }: ColumnDecoder,
): Promise<(ValuePlace | null)[] | undefined> {
  const v1 = header.data_page_header ?? header.dictionary_page_header
  const v2 = header.data_page_header_v2
  const known = v1 ?? v2
  if (!known || type !== 'BYTE_ARRAY' || element.converted_type || element.logical_type) return undefined
  if (known.encoding !== 'PLAIN' && header.type !== 'DICTIONARY_PAGE') return undefined
  const levelsSize = v2 ? v2.definition_levels_byte_length + v2.repetition_levels_byte_length : 0
  const levelsStart = page.start + headerSize
  const stored = { start: levelsStart + levelsSize, size: page.end - levelsStart - levelsSize }
  const size = header.uncompressed_page_size - levelsSize
  const body = await openBody(reader, stored, size, v2?.is_compressed === false ? 'UNCOMPRESSED' : codec)
  if (!body) return undefined
  const readAhead = windowed({ read: body, windowBytes: LENGTH_WINDOW_BYTES })

  const maxLevel = header.type === 'DICTIONARY_PAGE' ? 0 : getMaxDefinitionLevel(schemaPath)
  let at = 0
  let levels: number[] | undefined
  if (maxLevel > 0) {
    let bytes: Uint8Array
    if (v2) bytes = await readAll(reader, levelsStart, levelsSize)
    else {
      const length = (await readAhead(0, 4)).readUInt32LE()
      bytes = await body(4, length)
      at = 4 + length
    }
    levels = readLevels(bytes, maxLevel, { count: known.num_values, header })
  }
  const values: (ValuePlace | null)[] = []
  for (let i = 0; i < known.num_values; i++) {
    if (levels && levels[i] !== maxLevel) {
      values.push(null)
      continue
    }
    const length = at + 4 <= size ? (await readAhead(at, 4)).readUInt32LE() : 0
    if (at + 4 + length > size) throw new Error('a value ends outside of its page')
    values.push(new ValuePlace(body, at + 4, length))
    at += 4 + length
  }
  if (at !== size) throw new Error(`the values of a page end at byte ${at} of ${size}`)
  return values
}

/**
 * Reads ranges of what a page holds, `size` bytes, shorter only at its end; undefined where its compression does not
 * allow it.
 */
async function openBody(
  reader: RangeReader,
  stored: { start: number; size: number },
  size: number,
  codec: string,
): Promise<ReadBytes | undefined> {
  const readStored: ReadBytes = (offset, length) => readAll(reader, stored.start + offset, length)
  const inside =
    (read: ReadBytes): ReadBytes =>
    async (offset, length) => {
      const wanted = Math.min(length, size - offset)
      return wanted > 0 ? read(offset, wanted) : new Uint8Array(0)
    }
  if (codec === 'UNCOMPRESSED') return size === stored.size ? inside(readStored) : undefined
  if (codec !== 'SNAPPY') return undefined
  const fragments = await snappyFragments(readStored, stored.size, size)
  if (!fragments) return undefined
  return inside((offset, length) => readSnappyRange(readStored, { fragments, uncompressedSize: size }, offset, length))
}
