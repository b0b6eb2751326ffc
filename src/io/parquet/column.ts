/**
 * Single values of a column of a Parquet file, whose row groups may be larger than memory: a page is found (pages.ts),
 * decoded by hyparquet, and kept while there is room in the cache. Columns inside of structs count, those inside of
 * lists do not: a row has one value.
 */
import type { DecodedArray, RowGroup, SchemaTree } from 'hyparquet'
import { readPage } from 'hyparquet/src/column.js'
import { convert, DEFAULT_PARSERS } from 'hyparquet/src/convert.js'
import { getMaxRepetitionLevel, getTreePath } from 'hyparquet/src/schema.js'
import type { ColumnDecoder } from 'hyparquet/src/types.js'
import { VtpError } from '../../errors.js'
import type { ByteCache, Sized } from '../byte-cache.js'
import type { RangeReader } from '../range-reader.js'
import { uriScheme } from '../store.js'
import { checkContent, checkHeader } from './check-page.js'
import { decompressors } from './decompressors.js'
import { largePageValues, PLACE_BYTES, ValuePlace } from './large-page.js'
import { type ChunkPages, openPages, type Page, parsePageHeader, readPageHeader } from './pages.js'

/** Pages of local files that hold more are read value by value, where they can be. */
const LARGE_PAGE_BYTES = 16 * 2 ** 20
/** Smaller pages are, too, where their values are large and reads do not come in order: one costs little then. */
const PAGE_BYTES = 4 * 2 ** 20
const LARGE_VALUE_BYTES = 2 ** 15
/** What an array takes for a value that is kept elsewhere. */
const VALUE_BYTES = 16

/** A dictionary has no rows. */
type PagePlace = Pick<Page, 'start' | 'end'> & Partial<Page>

interface OpenGroup {
  pages: ChunkPages
  decoder: ColumnDecoder
  /** Names the column of this group in the cache. */
  key: string
}

export interface Column {
  /** The value of a row of a group: bytes, a text, a number; null or undefined where it has none. */
  value(group: number, row: number): Promise<unknown>
}

export interface ColumnOptions {
  rowGroups: RowGroup[]
  schema: SchemaTree
  /** The column's path in the schema. */
  path: string[]
  /** Shared by all columns and files of a source. */
  cache: ByteCache
}

/** Whether rows of the column have one value: neither it nor a struct around it is repeated. */
export function isSingle(schema: SchemaTree, path: string[]): boolean {
  return getMaxRepetitionLevel(getTreePath(schema, path)) === 0
}

export function openColumn(reader: RangeReader, options: ColumnOptions): Column {
  const { rowGroups, schema, path, cache } = options
  const schemaPath = getTreePath(schema, path)
  const { element } = schemaPath.at(-1)!
  /** hyparquet puts a value into a list for each struct around it that may be missing. */
  const wrapped = schemaPath.slice(1, -1).filter((node) => node.element.repetition_type !== 'REQUIRED').length
  const isLocal = uriScheme(reader.uri) === undefined
  const groups = new Map<number, OpenGroup>()

  const openGroup = (group: number): OpenGroup => {
    const found = groups.get(group)
    if (found) return found
    const { columns, num_rows } = rowGroups[group]!
    const chunk = columns.find(({ meta_data }) => String(meta_data?.path_in_schema) === String(path))
    if (!chunk?.meta_data) throw new Error(`the row group has no column ${path.join('.')}`)
    if (chunk.file_path) throw new Error('columns in files of their own are not supported')
    const { type, codec } = chunk.meta_data
    const key = `${reader.uri} ${group} ${path.join('.')}`
    const opened = {
      key,
      pages: openPages(reader, chunk, { cache, key, groupRows: Number(num_rows) }),
      decoder: {
        pathInSchema: path,
        type,
        element,
        schemaPath,
        codec,
        compressors: decompressors,
        parsers: DEFAULT_PARSERS,
        utf8: false,
      },
    }
    groups.set(group, opened)
    return opened
  }

  const dictionaryOf = async (group: OpenGroup, inOrder: boolean): Promise<Sized<DecodedArray>> => {
    const page = group.pages.dictionary()
    if (!page) throw new Error('a page refers to a dictionary, and the column has none')
    return cache.get(`${group.key} dictionary`, async (reserve) => {
      const value = await decode(group, page, inOrder, reserve)
      return { value, bytes: value.bytes }
    })
  }

  /** Where the values of a large page are; undefined where they are better read together. */
  const placesOf = async ({ decoder }: OpenGroup, page: PagePlace, inOrder: boolean) => {
    if (page.end - page.start < PAGE_BYTES) return undefined
    const found = await readPageHeader((offset, size) => reader.read(offset, size), page)
    checkHeader(found, { bytes: page.end - page.start, rows: page.rows })
    const { uncompressed_page_size: size, data_page_header, data_page_header_v2, dictionary_page_header } = found.header
    const count = (data_page_header ?? data_page_header_v2 ?? dictionary_page_header)?.num_values ?? 0
    if (size <= LARGE_PAGE_BYTES && (inOrder || size / count < LARGE_VALUE_BYTES)) return undefined
    return largePageValues(reader, page, found, decoder)
  }

  /** Values of a page, or of a dictionary, and the bytes that they take. */
  const decode = async (
    group: OpenGroup,
    page: PagePlace,
    inOrder: boolean,
    reserve: (bytes: number) => void,
  ): Promise<Sized<DecodedArray>> => {
    const { pages, decoder } = group
    const places = isLocal && (await placesOf(group, page, inOrder))
    if (places) return { value: places, bytes: places.length * PLACE_BYTES }
    reserve(page.end - page.start)
    const bytes = await pages.bytes(page)
    const found = parsePageHeader(bytes)
    checkHeader(found, { bytes: bytes.length, rows: page.rows })
    const { header, size } = found
    const isDictionary = header.type === 'DICTIONARY_PAGE'
    const encoding = (header.data_page_header ?? header.data_page_header_v2)?.encoding
    const dictionary =
      !isDictionary && encoding?.endsWith('_DICTIONARY') ? await dictionaryOf(group, inOrder) : undefined
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const v2 = header.data_page_header_v2
    const levelsEnd = size + (v2?.definition_levels_byte_length ?? 0)
    let body: Uint8Array = bytes.subarray(levelsEnd)
    const decompress = decompressors[decoder.codec]
    const keepBody = (input: Uint8Array, length: number): Uint8Array => {
      body = decompress!(input, length)
      return body
    }
    const reading = { ...decoder, compressors: decompress ? { [decoder.codec]: keepBody } : {} }
    const { data = [] } = readPage({ view, offset: size }, header, reading, dictionary?.value, undefined, 0)
    checkContent(header, { levels: bytes.subarray(size, levelsEnd), body }, decoder)
    if (dictionary) checkFound(data)
    // Values may be views of the dictionary, which stays as long as they do.
    const taken = header.uncompressed_page_size + data.length * VALUE_BYTES + (dictionary?.bytes ?? 0)
    return { value: isDictionary ? convert(data, decoder) : data, bytes: taken }
  }

  /** Throws an Error for values that are in no dictionary. */
  const checkFound = (data: DecodedArray): void => {
    for (const wrapper of data) {
      let value: unknown = wrapper
      // A struct that is missing is an empty list.
      for (let i = 0; i < wrapped && Array.isArray(value); i++) value = value.length > 0 ? value[0] : null
      if (value === undefined) throw new Error('a value is not in the dictionary of its column')
    }
  }

  const read = async (group: OpenGroup, row: number): Promise<unknown> => {
    const page = await group.pages.find(row)
    // Who reads in order comes to a page by its first row.
    const inOrder = row === page.firstRow
    const key = `${group.key} ${page.start} ${page.rows}`
    const values = await cache.get(key, (reserve) => decode(group, page, inOrder, reserve))
    if (values.length !== page.rows) throw new Error(`a page has ${values.length} rows, and ${page.rows} are expected`)
    let value: unknown = values[row - page.firstRow]
    for (let i = 0; i < wrapped && Array.isArray(value); i++) value = value[0]
    return value instanceof ValuePlace ? value.read() : value
  }

  return {
    async value(number, row) {
      const group = openGroup(number)
      const byIndex = group.pages.byIndex()
      try {
        return await read(group, row)
      } catch (error) {
        if (error instanceof VtpError || !byIndex || !(await group.pages.distrustIndex())) throw error
        return read(group, row)
      }
    },
  }
}
