/**
 * Where the pages of a column chunk lie. The offset index of the file tells it, where there is one; otherwise the
 * headers of all pages are read in their order. Their counts must add up to those of the footer before any of them is
 * believed: one wrong count would move all later rows. Positions stay known: a few numbers per page. Columns are not
 * repeated here, so that each value of a page is a row.
 */
import { type ColumnChunk, type PageHeader, readOffsetIndex } from 'hyparquet'
import { parquetHeader } from 'hyparquet/src/column.js'
import { VtpError } from '../../errors.js'
import type { ByteCache } from '../byte-cache.js'
import type { RangeReader } from '../range-reader.js'
import { uriScheme } from '../store.js'
import { claimedRows } from './check-page.js'

/** A page with its header: bytes `start` to `end` of the file, and the rows of the group that it holds. */
export interface Page {
  start: number
  end: number
  firstRow: number
  rows: number
}

interface Layout {
  pages: Page[]
  dictionary?: { start: number; end: number }
}

export interface ChunkPages {
  /** The page of a row of the group. Throws an Error where the counts of the chunk contradict each other. */
  find(row: number): Promise<Page>
  /** The dictionary, which comes before all other pages; known once a page has been found. */
  dictionary(): { start: number; end: number } | undefined
  /** The bytes of a page with its header; whoever walks the headers may have read some of them. */
  bytes(page: { start: number; end: number }): Promise<Uint8Array>
  /** Whether positions are those of the offset index. */
  byIndex(): boolean
  /**
   * Headers and the index contradict each other. Headers that agree with the footer count from now on, and the answer
   * is true; otherwise the index stays.
   */
  distrustIndex(): Promise<boolean>
}

/** Bytes that are read at once while walking: for a header, or elsewhere than on a disk for many pages. */
const HEADER_WINDOW_BYTES = 16 * 1024
const PAGES_WINDOW_BYTES = 4 * 2 ** 20
/** A round trip for each header costs more than such pages. */
const SMALL_PAGE_BYTES = 2 ** 18
/** Larger chunks are not kept from the walk until their pages are read. */
const KEPT_CHUNK_BYTES = 16 * 2 ** 20
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
  const { dictionary_page_offset, data_page_offset, total_compressed_size, num_values } = chunk.meta_data!
  const chunkStart = Number(dictionary_page_offset || data_page_offset)
  const chunkEnd = chunkStart + Number(total_compressed_size)
  const isRemote = uriScheme(reader.uri) !== undefined
  const isKept = isRemote && chunkEnd - chunkStart <= KEPT_CHUNK_BYTES
  /** Where the windows begin that may still be in the cache, in ascending order. */
  let windows: number[] = []
  const windowKey = (start: number): string => (isKept ? `${key} window ${start}` : `${key} window`)

  /** The bytes from `start` on that a window holds. */
  const held = (start: number): Uint8Array => {
    const from = windows.findLast((at) => at <= start)
    const bytes = from === undefined ? undefined : cache.peek<Uint8Array>(windowKey(from))
    return bytes && from !== undefined ? bytes.subarray(start - from) : new Uint8Array(0)
  }
  const readWindow = async (start: number, size: number, windowBytes: number): Promise<Uint8Array> => {
    const found = held(start)
    if (found.length >= size) return found
    const bytes = await reader.read(start, Math.min(Math.max(size, windowBytes), chunkEnd - start))
    if (bytes.length < size) throw new Error('the file ends within a page')
    windows = isKept ? [...windows.filter((at) => at < start), start] : [start]
    cache.put(windowKey(start), bytes.length, bytes)
    return bytes
  }

  const walk = async (): Promise<Layout> => {
    const pages: Page[] = []
    let dictionary: Layout['dictionary']
    let rows = 0
    let pageBytes = 0
    for (let start = chunkStart; start < chunkEnd; start += pageBytes) {
      const many = isKept || (isRemote && pageBytes > 0 && pageBytes < SMALL_PAGE_BYTES)
      const windowBytes = many ? PAGES_WINDOW_BYTES : HEADER_WINDOW_BYTES
      const read = (offset: number, size: number): Promise<Uint8Array> => readWindow(offset, size, windowBytes)
      const { header, size } = await readPageHeader(read, { start, end: chunkEnd })
      pageBytes = size + header.compressed_page_size
      const end = start + pageBytes
      if (!(header.compressed_page_size >= 0 && end <= chunkEnd)) throw new Error('a page ends outside of its column')
      if (header.type === 'DICTIONARY_PAGE' && start === chunkStart) {
        dictionary = { start, end }
        continue
      }
      const count = claimedRows(header)
      if (rows + count > groupRows) throw new Error(`a page claims ${count} rows, and ${groupRows - rows} are left`)
      if (count > 0) pages.push({ start, end, firstRow: rows, rows: count })
      rows += count
    }
    if (rows < groupRows) throw new Error(`the column ends after ${rows} of ${groupRows} rows`)
    if (Number(num_values) !== groupRows)
      throw new Error(`the footer counts ${num_values} values for ${groupRows} rows of a column`)
    return { pages, dictionary }
  }
  const walked = once(walk)

  const readIndex = once(async (): Promise<Layout | undefined> => {
    const size = chunk.offset_index_length!
    const found = size > 0 && size <= MAX_INDEX_BYTES && (await reader.read(Number(chunk.offset_index_offset), size))
    const agrees = Number(num_values) === groupRows
    const pages = found && agrees ? parseIndex(found, { chunkStart, chunkEnd, groupRows }) : undefined
    const first = pages?.[0]?.start ?? chunkStart
    return pages && { pages, dictionary: first > chunkStart ? { start: chunkStart, end: first } : undefined }
  })

  let indexed = chunk.offset_index_offset !== undefined && chunk.offset_index_length !== undefined
  let layout: Layout = { pages: [] }
  return {
    async find(row) {
      const listed = indexed ? await readIndex() : undefined
      if (!listed) indexed = false
      layout = listed && indexed ? listed : await walked()
      const page = pageOf(layout.pages, row)
      if (!page) throw new Error(`the column has no row ${row}`)
      return page
    },
    dictionary: () => layout.dictionary,
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
    async distrustIndex() {
      try {
        await walked()
      } catch (error) {
        if (error instanceof VtpError) throw error
        return false
      }
      indexed = false
      return true
    },
  }
}

/** What `make` gives, made once. Failures of a service are not kept. */
function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined
  return () => {
    made ??= make().catch((error: unknown) => {
      if (error instanceof VtpError) made = undefined
      throw error
    })
    return made
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
