/** Single values of Parquet columns are those that were written, and each costs little more than its page. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { brotliCompressSync, gzipSync } from 'node:zlib'
import { Binary, Field, Struct, Table, tableToIPC, Utf8, vectorFromArray } from 'apache-arrow'
import fc from 'fast-check'
import { type ColumnMetaData, type FileMetaData, parquetMetadata, parquetReadObjects, parquetSchema } from 'hyparquet'
import { compressors } from 'hyparquet-compressors'
import { parquetWriteBuffer } from 'hyparquet-writer'
import {
  Compression,
  Encoding,
  Table as WasmTable,
  WriterPropertiesBuilder,
  WriterVersion,
  writeParquet,
} from 'parquet-wasm'
import { afterAll, expect, it, onTestFinished } from 'vitest'
import { createRandom } from '../../math/random.js'
import { createByteCache } from '../byte-cache.js'
import { openRangeReader, type RangeReader } from '../range-reader.js'
import { type Column, openColumn } from './column.js'
import { parsePageHeader } from './pages.js'

const dir = mkdtempSync(path.join(tmpdir(), 'vtp-parquet-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

interface Row {
  image: { bytes: Uint8Array | null; path: string | null } | null
  raw: Uint8Array | null
  name: string | null
}
const PATHS = [['image', 'bytes'], ['image', 'path'], ['raw'], ['name']]

/** A file of these rows by arrow-rs, whose pages are flushed after each batch. */
function write(rows: Row[], set: (builder: WriterPropertiesBuilder) => WriterPropertiesBuilder): Buffer {
  const struct = new Struct<{ bytes: Binary; path: Utf8 }>([
    new Field('bytes', new Binary(), true),
    new Field('path', new Utf8(), true),
  ])
  const table = new Table({
    image: vectorFromArray(
      rows.map(({ image }) => image),
      struct,
    ),
    raw: vectorFromArray(
      rows.map(({ raw }) => raw),
      new Binary(),
    ),
    name: vectorFromArray(
      rows.map(({ name }) => name),
      new Utf8(),
    ),
  })
  const stream = WasmTable.fromIPCStream(tableToIPC(table, 'stream'))
  return Buffer.from(writeParquet(stream, set(new WriterPropertiesBuilder()).build()))
}

interface Opened {
  columns: Column[]
  metadata: FileMetaData
  /** Sizes of the reads since it was emptied. */
  reads: number[]
}

/** Opens the columns of a file on the disk, or as if it lay in a bucket. */
async function open(
  bytes: Buffer,
  paths: string[][],
  { remote = false, index = true, cacheBytes = 2 ** 20 } = {},
): Promise<Opened> {
  const file = path.join(dir, 'table.parquet')
  writeFileSync(file, bytes)
  const local = await openRangeReader(file)
  onTestFinished(() => local.close())
  const reads: number[] = []
  const reader: RangeReader = {
    ...local,
    uri: remote ? 's3://bucket/table.parquet' : file,
    read(offset, size) {
      reads.push(size)
      return local.read(offset, size)
    },
  }
  const metadata = parquetMetadata(arrayBuffer(bytes))
  if (!index)
    for (const { columns } of metadata.row_groups) for (const column of columns) column.offset_index_offset = undefined
  const cache = createByteCache(cacheBytes)
  const options = { rowGroups: metadata.row_groups, schema: parquetSchema(metadata), cache }
  return { columns: paths.map((names) => openColumn(reader, { ...options, path: names })), metadata, reads }
}

function arrayBuffer(bytes: Buffer): ArrayBuffer {
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) as ArrayBuffer
}

function shown(value: unknown): unknown {
  return value instanceof Uint8Array ? Buffer.from(value).toString('base64') : (value ?? null)
}

function valueAt(row: object, names: string[]): unknown {
  return names.reduce<unknown>((value, name) => (value as Record<string, unknown> | null)?.[name], row)
}

/** All values of a column by one read of everything. */
async function wholeRead(bytes: Buffer, names: string[]): Promise<unknown[]> {
  const file = arrayBuffer(bytes)
  const rows = await parquetReadObjects({ file, columns: [names[0]!], compressors, utf8: false })
  return rows.map((row) => shown(valueAt(row, names)))
}

/** All values of a column one by one, in the order of `seed`. */
async function singleReads(column: Column, { row_groups }: FileMetaData, seed: number): Promise<unknown[]> {
  const places = row_groups.flatMap(({ num_rows }, group) =>
    Array.from({ length: Number(num_rows) }, (_, row) => ({ group, row })),
  )
  const random = createRandom(seed)
  const order = places.map((_, i) => [random.next(), i] as const).sort(([a], [b]) => a - b)
  const values: unknown[] = new Array(places.length)
  const read = async (i: number): Promise<void> => {
    values[i] = shown(await column.value(places[i]!.group, places[i]!.row))
  }
  // A few at a time, as the pipeline does.
  for (let i = 0; i < order.length; i += 5) await Promise.all(order.slice(i, i + 5).map(([, at]) => read(at)))
  return values
}

const someBytes = fc.oneof(
  fc.uint8Array({ maxLength: 60 }),
  fc.constantFrom('one', 'two', 'three').map((text) => new Uint8Array(Buffer.from(text.repeat(9)))),
)
const orNull = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<T | null> => fc.option(value, { freq: 4 })
const someRow: fc.Arbitrary<Row> = fc.record({
  image: orNull(fc.record({ bytes: orNull(someBytes), path: orNull(fc.string({ maxLength: 12 })) })),
  raw: orNull(someBytes),
  name: orNull(fc.constantFrom('a', 'bb', '')),
})

it('any table, codec, page size and grouping: values are those that were written', async () => {
  const codec = fc.constantFrom(
    Compression.UNCOMPRESSED,
    Compression.SNAPPY,
    Compression.GZIP,
    Compression.BROTLI,
    Compression.ZSTD,
    Compression.LZ4_RAW,
  )
  const layout = fc.record({
    codec,
    version: fc.constantFrom(WriterVersion.V1, WriterVersion.V2),
    dictionary: fc.boolean(),
    pageBytes: fc.constantFrom(1, 100, 2 ** 20),
    batch: fc.integer({ min: 1, max: 40 }),
    groupRows: fc.integer({ min: 1, max: 100 }),
    index: fc.boolean(),
    remote: fc.boolean(),
    cacheBytes: fc.constantFrom(0, 500, 2 ** 20),
  })
  const rows = fc.array(someRow, { minLength: 1, maxLength: 120 })
  await fc.assert(
    fc.asyncProperty(rows, layout, fc.nat(), async (table, options, seed) => {
      const bytes = write(table, (builder) =>
        builder
          .setCompression(options.codec)
          .setWriterVersion(options.version)
          .setDictionaryEnabled(options.dictionary)
          .setDictionaryPageSizeLimit(200)
          .setDataPageSizeLimit(options.pageBytes)
          .setWriteBatchSize(options.batch)
          .setMaxRowGroupSize(options.groupRows),
      )
      const { columns, metadata } = await open(bytes, PATHS, options)
      for (const [i, names] of PATHS.entries())
        expect(await singleReads(columns[i]!, metadata, seed)).toEqual(table.map((row) => shown(valueAt(row, names))))
    }),
    { numRuns: 60 },
  )
}, 120_000)

it('encodings and codecs of another writer: single values are those of a whole read', async () => {
  const values = Array.from({ length: 90 }, (_, i) => new Uint8Array(Buffer.from(`value ${i % 17}`.repeat(i % 5))))
  const codecs = {
    SNAPPY: undefined,
    UNCOMPRESSED: undefined,
    GZIP: (input: Uint8Array) => new Uint8Array(gzipSync(input)),
    BROTLI: (input: Uint8Array) => new Uint8Array(brotliCompressSync(input)),
  } as const
  for (const [codec, compress] of Object.entries(codecs)) {
    for (const encoding of ['PLAIN', 'RLE_DICTIONARY', 'DELTA_LENGTH_BYTE_ARRAY', 'DELTA_BYTE_ARRAY'] as const) {
      const data = values.map((value, i) => (i % 7 === 3 ? null : value))
      const bytes = Buffer.from(
        parquetWriteBuffer({
          columnData: [{ name: 'raw', data, type: 'BYTE_ARRAY', encoding, offsetIndex: false }],
          codec: codec as keyof typeof codecs,
          ...(compress ? { compressors: { [codec]: compress } } : {}),
          pageSize: 64,
          rowGroupSize: 40,
        }),
      )
      const { columns, metadata } = await open(bytes, [['raw']])
      expect(await singleReads(columns[0]!, metadata, 1), `${codec}, ${encoding}`).toEqual(
        await wholeRead(bytes, ['raw']),
      )
    }
  }
})

/** Rows of 300 KB, every other one of bytes that compress well. */
function largeRows(): Row[] {
  const random = createRandom(3)
  return Array.from({ length: 40 }, (_, i) => {
    const value = new Uint8Array(300_000 + i).map((_, at) => (i % 2 ? at >> 9 : random.next() * 256))
    return {
      image: i % 8 === 5 ? null : { bytes: value, path: `${i}.png` },
      raw: i % 8 === 6 ? null : value,
      name: null,
    }
  })
}

/** All of them in one page, or in one dictionary. */
function onePage(codec: Compression, version: WriterVersion, dictionary: boolean): Buffer {
  return write(largeRows(), (builder) =>
    builder
      .setCompression(codec)
      .setWriterVersion(version)
      .setDictionaryEnabled(dictionary)
      .setEncoding(Encoding.PLAIN)
      .setDataPageSizeLimit(2 ** 25)
      .setDictionaryPageSizeLimit(2 ** 25),
  )
}

const LARGE = (['SNAPPY', 'UNCOMPRESSED', 'ZSTD'] as const).flatMap((codec) =>
  (['V1', 'V2'] as const).flatMap((version) => [true, false].map((dictionary) => ({ codec, version, dictionary }))),
)

it.each(LARGE)(
  'pages of many large values: $codec, $version, dictionary: $dictionary',
  async ({ codec, version, dictionary }) => {
    const bytes = onePage(Compression[codec], WriterVersion[version], dictionary)
    const { columns, metadata } = await open(bytes, [['raw'], ['image', 'bytes']])
    expect(await singleReads(columns[0]!, metadata, 1)).toEqual(await wholeRead(bytes, ['raw']))
    expect(await singleReads(columns[1]!, metadata, 1)).toEqual(await wholeRead(bytes, ['image', 'bytes']))
    if (codec === 'ZSTD') return
    // Rows out of order: of a page that is known only the value is read.
    const again = await open(bytes, [['raw']])
    await again.columns[0]!.value(0, 19)
    again.reads.length = 0
    await again.columns[0]!.value(0, 20)
    expect(again.reads).toHaveLength(1)
    expect(again.reads[0]).toBeLessThan(500_000)
  },
  60_000,
)

it('a damaged large page gives values or errors, never a hang', async () => {
  const bytes = onePage(Compression.SNAPPY, WriterVersion.V1, false)
  const random = createRandom(5)
  for (let round = 0; round < 25; round++) {
    const damaged = Buffer.from(bytes)
    for (let i = 0; i < 20; i++) damaged[random.below(bytes.length / 2)] = random.below(256)
    const { columns } = await open(damaged, [['raw']], { index: false })
    for (const row of [0, 11, 23]) {
      const value = await columns[0]!.value(0, row).catch((error: unknown) => error)
      expect(value instanceof Error || value === null || value instanceof Uint8Array).toBe(true)
    }
  }
})

/** One group of 64 values in about a dozen pages. */
function paged(valueBytes = 200_000): Buffer {
  const random = createRandom(9)
  const rows = Array.from({ length: 64 }, (): Row => {
    return { image: null, raw: new Uint8Array(valueBytes).map(() => random.next() * 256), name: null }
  })
  return write(rows, (builder) =>
    builder
      .setCompression(Compression.SNAPPY)
      .setDictionaryEnabled(false)
      .setDataPageSizeLimit(5 * valueBytes)
      .setWriteBatchSize(4),
  )
}

it.each([true, false])(
  'from a bucket a pass reads every byte about once, in large requests (index: %s)',
  async (index) => {
    const bytes = paged()
    const { columns, metadata, reads } = await open(bytes, [['raw']], { remote: true, index, cacheBytes: 2 ** 24 })
    const chunk = Number(metadata.row_groups[0]!.columns[2]!.meta_data!.total_compressed_size)
    for (let row = 0; row < 64; row++) await columns[0]!.value(0, row)
    expect(reads.reduce((sum, size) => sum + size, 0)).toBeLessThan(chunk * 1.05)
    expect(reads.length).toBeLessThanOrEqual(16)
  },
)

it('a row far into a group costs its page where there is an offset index, and the headers before it otherwise', async () => {
  const bytes = paged()
  const indexed = await open(bytes, [['raw']], { remote: true })
  await indexed.columns[0]!.value(0, 50)
  expect(indexed.reads.reduce((sum, size) => sum + size, 0)).toBeLessThan(2 ** 21)
  const walked = await open(bytes, [['raw']], { index: false })
  await walked.columns[0]!.value(0, 50)
  expect(walked.reads.reduce((sum, size) => sum + size, 0)).toBeLessThan(2 ** 21)
  walked.reads.length = 0
  await walked.columns[0]!.value(0, 3)
  expect(walked.reads).toHaveLength(1)
})

it('an offset index that is wrong is not believed', async () => {
  const bytes = paged(300)
  const expected = await wholeRead(bytes, ['raw'])
  const { offset_index_offset, offset_index_length } = parquetMetadata(arrayBuffer(bytes)).row_groups[0]!.columns[2]!
  const start = Number(offset_index_offset)
  for (let at = start; at < start + offset_index_length!; at++) {
    const damaged = Buffer.from(bytes)
    damaged[at]! ^= 4
    const { columns } = await open(damaged, [['raw']])
    for (const row of [0, 31, 63]) expect(shown(await columns[0]!.value(0, row))).toBe(expected[row])
  }
})

it('a column that ends before its group says so', async () => {
  const file = readFileSync(new URL('../../../fixtures/tables/hub.parquet', import.meta.url))
  const { columns, metadata } = await open(file, [['img', 'bytes']])
  metadata.row_groups[0]!.num_rows = 9n
  await expect(columns[0]!.value(0, 7)).rejects.toThrow('the column ends after 4 of 9 rows')
  await expect(columns[0]!.value(0, 3)).rejects.toThrow('the column ends after 4 of 9 rows')
})

/** Tables of one column in several pages: of each version, with and without a dictionary, nulls and compression. */
function smallTables(): { name: string; bytes: Buffer; expected: unknown[] }[] {
  const rows = Array.from({ length: 12 }, (_, i): Row => {
    const value = new Uint8Array(Buffer.from(`image ${i} `.repeat(1 + (i % 3))))
    return { image: { bytes: value, path: null }, raw: i % 5 === 4 ? null : value, name: null }
  })
  return (['V1', 'V2'] as const).flatMap((version) =>
    [true, false].flatMap((dictionary) =>
      ([1, 3] as const).map((batch) => {
        const bytes = write(rows, (builder) =>
          builder
            .setCompression(batch === 3 ? Compression.SNAPPY : Compression.UNCOMPRESSED)
            .setWriterVersion(WriterVersion[version])
            .setDictionaryEnabled(dictionary)
            .setDictionaryPageSizeLimit(80)
            .setDataPageSizeLimit(1)
            .setWriteBatchSize(batch),
        )
        const expected = rows.map(({ raw }) => shown(raw))
        return { name: `${version}, dictionary: ${dictionary}, ${batch} rows a page`, bytes, expected }
      }),
    ),
  )
}

/** Positions of the bytes of all page headers of a column. */
function headerBytes(
  bytes: Buffer,
  { dictionary_page_offset, data_page_offset, total_compressed_size }: ColumnMetaData,
) {
  const positions: number[] = []
  const start = Number(dictionary_page_offset || data_page_offset)
  for (let at = start; at < start + Number(total_compressed_size); ) {
    const { header, size } = parsePageHeader(bytes.subarray(at))
    for (let i = 0; i < size; i++) positions.push(at + i)
    at += size + header.compressed_page_size
  }
  return positions
}

it.each(smallTables())(
  'one flipped bit of a page header or of the index never gives the value of another row: $name',
  async ({ bytes, expected }) => {
    const { columns } = parquetMetadata(arrayBuffer(bytes)).row_groups[0]!
    const { meta_data, offset_index_offset, offset_index_length } = columns[2]!
    const indexBytes = Array.from({ length: offset_index_length! }, (_, i) => Number(offset_index_offset) + i)
    const headers = headerBytes(bytes, meta_data!)
    let errors = 0
    for (const index of [true, false]) {
      const { openDamaged } = openInMemory(bytes, index)
      for (const at of index ? [...headers, ...indexBytes] : headers) {
        for (let bit = 0; bit < 8; bit++) {
          const column = openDamaged(at, 1 << bit)
          for (const [row, sound] of expected.entries()) {
            const value = await column.value(0, row).catch((error: unknown) => error as Error)
            if (value instanceof Error) errors++
            else expect(shown(value), `byte ${at}, bit ${bit}, row ${row}, index: ${index}`).toBe(sound)
          }
        }
      }
    }
    expect(errors).toBeGreaterThan(0)
  },
  60_000,
)

it('a count that is wrong leaves the other pages to the index, and without one no row is believed', async () => {
  const { bytes, expected } = smallTables().find(({ name }) => name === 'V1, dictionary: false, 1 rows a page')!
  const { meta_data } = parquetMetadata(arrayBuffer(bytes)).row_groups[0]!.columns[2]!
  const start = Number(meta_data!.data_page_offset)
  const { size } = parsePageHeader(bytes.subarray(start))
  // The count is the first field of the data page's header: 1, which is 2 in zigzag.
  const at = bytes.indexOf(Buffer.from([0x2c, 0x15, 0x02]), start) + 2
  expect(at).toBeLessThan(start + size)
  for (const index of [true, false]) {
    const column = openInMemory(bytes, index).openDamaged(at, 4)
    await expect(column.value(0, 0)).rejects.toThrow(index ? 'a page has 3 rows, and 1 are expected' : /a page claims/)
    if (index) expect(shown(await column.value(0, 7))).toBe(expected[7])
    else await expect(column.value(0, 7)).rejects.toThrow(/a page claims/)
  }
})

/** The column `raw` of a file that is not on the disk, with some bits of a byte flipped. */
function openInMemory(bytes: Buffer, index: boolean) {
  const metadata = parquetMetadata(arrayBuffer(bytes))
  if (!index) for (const column of metadata.row_groups[0]!.columns) column.offset_index_offset = undefined
  return {
    openDamaged(at: number, bits: number): Column {
      const damaged = Buffer.from(bytes)
      damaged[at]! ^= bits
      const reader: RangeReader = {
        uri: 'table.parquet',
        size: bytes.length,
        windowBytes: 1024,
        read: async (offset, size) => damaged.subarray(offset, offset + size),
        close: async () => {},
      }
      const options = { rowGroups: metadata.row_groups, schema: parquetSchema(metadata), path: ['raw'] }
      return openColumn(reader, { ...options, cache: createByteCache(2 ** 20) })
    },
  }
}
