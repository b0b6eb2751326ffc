/**
 * Where the pages of a column chunk lie. The offset index of the file tells it, where there is one; otherwise the
 * headers of the pages are read in their order, as far as is needed. Positions stay known: a few numbers per page.
 * Columns are not repeated here, so that each value of a page is a row.
 */
import { type ColumnChunk, type PageHeader, readOffsetIndex } from 'hyparquet'
import { parquetHeader } from 'hyparquet/src/column.js'
import type { ByteCache } from '../byte-cache.js'
import type { RangeReader } from '../range-reader.js'
import { uriScheme } from '../store.js'

/** A page with its header: bytes `start` to `end` of the file, and the rows of the group that it holds. */
export interface Page {
  start: number
  end: number
  firstRow: number
  rows: number
}

export interface ChunkPages {
  /** The page of a row of the group. Throws an Error where the chunk ends before it. */
  find(row: number): Promise<Page>
  /** The dictionary, which comes before all other pages; known once a page has been found. */
  dictionary(): { start: number; end: number } | undefined
  /** The bytes of a page with its header; whoever walks the headers may have read some of them. */
  bytes(page: { start: number; end: number }): Promise<Uint8Array>
  /** Whether positions are those of the offset index. */
  byIndex(): boolean
  /** The index was wrong: from now on headers are walked. */
  distrustIndex(): void
}

/** Bytes that are read at once while walking: on a disk for a header, elsewhere for the pages, too. */
const LOCAL_WINDOW_BYTES = 16 * 1024
const REMOTE_WINDOW_BYTES = 4 * 2 ** 20
/** A header may hold the least and the greatest value of its page. */
const MAX_HEADER_BYTES = 16 * 2 ** 20
const MAX_INDEX_BYTES = 64 * 2 ** 20

/** The header at the front of these bytes, and its length. Throws an Error where they end before it. */
export function parsePageHeader(bytes: Uint8Array): { header: PageHeader; size: number } {
  const at = { view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), offset: 0 }
  const header = parquetHeader(at)
  return { header, size: at.offset }
}

export async function readPageHeader(
  read: (offset: number, size: number) => Promise<Uint8Array>,
  { start, end }: { start: number; end: number },
): Promise<{ header: PageHeader; size: number }> {
  for (let size = 1024; ; size *= 4) {
    const bytes = await read(start, Math.min(size, end - start))
    try {
      return parsePageHeader(bytes)
    } catch (error) {
      if (size >= MAX_HEADER_BYTES || size >= end - start) throw error
    }
  }
}

/** `key` names the chunk among all of the cache; `groupRows` are the rows of its group. */
export function openPages(
  reader: RangeReader,
  chunk: ColumnChunk,
  { cache, key, groupRows }: { cache: ByteCache; key: string; groupRows: number },
): ChunkPages {
  const { dictionary_page_offset, data_page_offset, total_compressed_size } = chunk.meta_data!
  const chunkStart = Number(dictionary_page_offset || data_page_offset)
  const chunkEnd = chunkStart + Number(total_compressed_size)
  const windowBytes = uriScheme(reader.uri) === undefined ? LOCAL_WINDOW_BYTES : REMOTE_WINDOW_BYTES
  const windowKey = `${key} window`

  /** The bytes from `start` on that the last window holds. */
  const held = (start: number): Uint8Array => {
    const window = cache.peek<{ start: number; bytes: Uint8Array }>(windowKey)
    if (!window || start < window.start) return new Uint8Array(0)
    return window.bytes.subarray(start - window.start)
  }
  const readWindow = async (start: number, size: number): Promise<Uint8Array> => {
    const found = held(start)
    if (found.length >= size) return found
    const bytes = await reader.read(start, Math.min(Math.max(size, windowBytes), chunkEnd - start))
    if (bytes.length < size) throw new Error('the file ends within a page')
    cache.put(windowKey, bytes.length, { start, bytes })
    return bytes
  }

  let pages: Page[] = []
  let dictionary: { start: number; end: number } | undefined
  /** Where the walk goes on, and the rows before. */
  let next = chunkStart
  let rows = 0
  const walkTo = async (row: number): Promise<void> => {
    while (rows <= row && next < chunkEnd) {
      const { header, size } = await readPageHeader(readWindow, { start: next, end: chunkEnd })
      const start = next
      const end = start + size + header.compressed_page_size
      if (!(header.compressed_page_size >= 0 && end <= chunkEnd)) throw new Error('a page ends outside of its column')
      const count = header.data_page_header?.num_values ?? header.data_page_header_v2?.num_rows
      if (header.type === 'DICTIONARY_PAGE') dictionary = { start, end }
      else if (count === undefined) throw new Error(`a page of the kind ${header.type} is not known`)
      else if (!(count >= 0 && rows + count <= groupRows)) throw new Error(`a page claims ${count} rows`)
      else if (count > 0) pages.push({ start, end, firstRow: rows, rows: count })
      rows += count ?? 0
      next = end
    }
  }

  let indexed = chunk.offset_index_offset !== undefined && chunk.offset_index_length !== undefined
  const readIndex = async (): Promise<void> => {
    const size = chunk.offset_index_length!
    const found = size > 0 && size <= MAX_INDEX_BYTES && (await reader.read(Number(chunk.offset_index_offset), size))
    const listed = found && parseIndex(found, { chunkStart, chunkEnd, groupRows })
    if (!listed) {
      indexed = false
      return
    }
    pages = listed
    rows = groupRows
    next = chunkEnd
    const first = listed[0]!.start
    if (first > chunkStart) dictionary = { start: chunkStart, end: first }
  }

  // One walks at a time, and each goes on where the one before stopped.
  let walking: Promise<void> = Promise.resolve()
  return {
    async find(row) {
      if (row >= rows) {
        const step = walking
          .catch(() => {})
          .then(() => (indexed && rows === 0 ? readIndex() : undefined))
          .then(() => walkTo(row))
        walking = step
        await step
      }
      const page = pageOf(pages, row)
      if (!page) throw new Error(`the column ends after ${rows} of ${groupRows} rows`)
      return page
    },
    dictionary: () => dictionary,
    async bytes({ start, end }) {
      const size = end - start
      const found = held(start)
      // A copy of its own: a page that is kept must not keep the window.
      if (found.length >= size) return new Uint8Array(found.subarray(0, size))
      if (found.length < size / 8) return readAll(reader, start, size)
      const rest = await readAll(reader, start + found.length, size - found.length)
      return Buffer.concat([found, rest], size)
    },
    byIndex: () => indexed,
    distrustIndex() {
      if (!indexed) return
      indexed = false
      pages = []
      dictionary = undefined
      next = chunkStart
      rows = 0
    },
  }
}

export async function readAll(reader: RangeReader, offset: number, size: number): Promise<Uint8Array> {
  const bytes = await reader.read(offset, size)
  if (bytes.length < size) throw new Error('the file ends within a page')
  return bytes
}

/** Pages by the offset index; undefined where it cannot be right. */
function parseIndex(
  bytes: Uint8Array,
  { chunkStart, chunkEnd, groupRows }: { chunkStart: number; chunkEnd: number; groupRows: number },
): Page[] | undefined {
  try {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const pages = readOffsetIndex({ view, offset: 0 }).page_locations.map((page) => ({
      start: Number(page.offset),
      end: Number(page.offset) + page.compressed_page_size,
      firstRow: Number(page.first_row_index),
      rows: 0,
    }))
    let [offset, row] = [chunkStart, 0]
    for (const [i, page] of pages.entries()) {
      page.rows = (pages[i + 1]?.firstRow ?? groupRows) - page.firstRow
      if (page.start < offset || !(page.end > page.start) || page.firstRow !== row || !(page.rows >= 0))
        return undefined
      offset = page.end
      row += page.rows
    }
    return offset <= chunkEnd && row === groupRows ? pages.filter((page) => page.rows > 0) : undefined
  } catch {
    return undefined
  }
}

/** The page of a row, by bisection. */
function pageOf(pages: Page[], row: number): Page | undefined {
  let [low, high] = [0, pages.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (pages[middle]!.firstRow + pages[middle]!.rows <= row) low = middle + 1
    else high = middle
  }
  return pages[low]
}
