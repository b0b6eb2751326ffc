/**
 * Parquet files with images (table.ts says which columns count). Rows are listed from the columns of labels,
 * captions and metadata only; image bytes are read page by page, and the pages used last are kept. A file cannot
 * claim more rows than its bytes may hold.
 */
import path from 'node:path'
import {
  type AsyncBuffer,
  type FileMetaData,
  parquetMetadataAsync,
  parquetReadObjects,
  parquetSchema,
  type RowGroup,
} from 'hyparquet'
import { mapOrdered } from '../../async/map-ordered.js'
import { errorText, usageError, VtpError } from '../../errors.js'
import { RejectError, type Source } from '../../types.js'
import { type ByteCache, createByteCache } from '../byte-cache.js'
import { decompressors } from '../parquet/decompressors.js'
import { openRangeReader, type RangeReader } from '../range-reader.js'
import type { NamedEntry } from './class-names.js'
import { absolutePath, commonFolder } from './common-folder.js'
import { type DataRecord, topField } from './fields.js'
import { finishListing } from './finish-listing.js'
import { createListingReport, type ListingReport } from './listing-report.js'
import type { SourceOptions } from './options.js'
import { type ImageColumn, openImageColumn } from './parquet-image.js'
import { leafPaths, tableColumn } from './parquet-schema.js'
import { type ChosenColumns, chooseColumns, hubFeatures, readTableImage, rowFields } from './table.js'

/** Bytes of pages that are kept: reads come in order, from a few pages at a time. */
const CACHED_BYTES = 32 * 2 ** 20
/** Files whose footers are read at once while listing. */
const FILES_AT_ONCE = 8
/** Rows that need no bytes of their own: small files. */
const ROWS_FOR_FREE = 1024

interface ImageFile {
  path: string
  buffer: AsyncBuffer
  reader: RangeReader
  metadata: FileMetaData
  columns: ChosenColumns
  images: ImageColumn
  /** First row of each row group. */
  starts: number[]
}

export async function openParquet(specs: string[], options: SourceOptions): Promise<Source> {
  const order = specs.map(absolutePath)
  const known = new Set(order)
  const report = createListingReport()
  const files = new Map<string, Promise<ImageFile>>()
  let classes: string[] | undefined
  const openFile = (name: string, column?: string): Promise<ImageFile> => {
    let file = files.get(name)
    if (!file) {
      const fields = { ...options.fields, ...(column === undefined ? {} : { image: column }) }
      file = openImageFile(name, { ...options, fields }, report, cache)
      file.catch(() => {})
      files.set(name, file)
    }
    return file
  }
  const cache = createByteCache(CACHED_BYTES)

  async function* entries(signal?: AbortSignal): AsyncGenerator<NamedEntry> {
    const base = commonFolder(order)
    for await (const file of mapOrdered(order, FILES_AT_ONCE, (name) => openFile(name))) {
      const { columns } = file
      if (file.path !== order[0] && String(columns.classes) !== String(classes)) throw otherClasses(file, order[0]!)
      classes = columns.classes
      const names = file.metadata.schema.map(({ name }) => name)
      const wanted = [columns.label, columns.caption].flatMap((name) => (name && topField(name, names)) ?? [])
      if (options.metadata) wanted.push(...columns.others)
      else for (const name of columns.others) report.noteName('fields', name)
      for (let index = 0; index < file.starts.length; index++) {
        signal?.throwIfAborted()
        const count = Number(file.metadata.row_groups[index]!.num_rows)
        const rows = wanted.length > 0 ? await readLabels(file, wanted, index) : undefined
        for (let row = 0; row < count; row++) {
          const number = file.starts[index]! + row
          const key = `${path.relative(base, file.path)}/${String(number).padStart(8, '0')}`
          const taken = rows ? rowFields(rows[row] ?? {}, key, columns, options, report) : {}
          const { etag } = file.reader
          yield {
            key,
            uri: `${file.path}#row=${number}`,
            at: {
              kind: 'parquet',
              path: file.path,
              rowGroup: index,
              row,
              ...(etag ? { etag } : {}),
              ...(options.fields?.image ? { column: options.fields.image } : {}),
            },
            ...taken,
          }
        }
      }
    }
  }

  // A wrong kind of file is told at once; a worker needs only the files of its units.
  await openFile(order[0]!)
  return {
    kind: 'parquet',
    uri: order.length === 1 ? order[0]! : `${order[0]} … ${order.at(-1)} (${order.length} files)`,
    get classes() {
      return classes
    },
    get passedOver() {
      return report.passedOver
    },
    get notes() {
      return report.notes
    },
    list(signal) {
      return finishListing(entries(signal), options, report, (names) => {
        classes = names
      })
    },
    async read(entry, signal) {
      const { at } = entry
      if (at.kind !== 'parquet') throw new RejectError('bad_entry', 'read', `the entry is of kind ${at.kind}`)
      if (!known.has(at.path)) throw new RejectError('not_found', 'read', `${at.path} is not part of the source`)
      let value: unknown
      try {
        const file = await openFile(at.path, at.column)
        if (at.etag !== undefined && file.reader.etag !== at.etag)
          throw new RejectError('changed', 'read', 'the file is not the one that was listed (its ETag differs)')
        value = await file.images.value(at.rowGroup, at.row)
      } catch (error) {
        throw readError(error, at.rowGroup)
      }
      return readTableImage(entry, value, at.path, { ...options, signal })
    },
    close: async () => {
      cache.clear()
      await Promise.allSettled([...files.values()].map(async (file) => (await file).reader.close()))
    },
  }
}

/** A RejectError for one image, or the VtpError of a service as a whole: no image may be lost to that. */
function readError(error: unknown, rowGroup: number): unknown {
  if (error instanceof RejectError) return error
  if (error instanceof VtpError) {
    if (error.code === 'not_found') return new RejectError('not_found', 'read', 'no such object', error)
    if (/_changed$/.test(error.code)) return new RejectError('changed', 'read', 'the file changed', error)
    if (/^(s3|hub)_/.test(error.code)) return error
  }
  return new RejectError('unreadable', 'read', `row group ${rowGroup}: ${errorText(error)}`, error)
}

function otherClasses(file: ImageFile, first: string): VtpError {
  return usageError('mixed_classes', `${file.path} has other class names for its labels than ${first}`, [
    'give files of one dataset, or choose another column by --label-column',
  ])
}

/** The columns that the listing needs. Throws VtpError `bad_parquet`. */
async function readLabels(file: ImageFile, columns: string[], group: number): Promise<DataRecord[]> {
  try {
    return await readColumns(file, columns, group)
  } catch (error) {
    if (error instanceof VtpError) throw error
    throw badParquet(file.path, `row group ${group}: ${errorText(error)}`, error)
  }
}

async function readColumns(file: ImageFile, columns: string[], group: number): Promise<DataRecord[]> {
  const rowStart = file.starts[group]!
  const rowEnd = rowStart + Number(file.metadata.row_groups[group]!.num_rows)
  const { buffer, metadata } = file
  return parquetReadObjects({
    file: buffer,
    metadata,
    columns,
    rowStart,
    rowEnd,
    compressors: decompressors,
    utf8: false,
  })
}

async function openImageFile(
  file: string,
  options: SourceOptions,
  report: ListingReport,
  cache: ByteCache,
): Promise<ImageFile> {
  let reader: RangeReader | undefined
  try {
    const opened = await openRangeReader(file)
    reader = opened
    const buffer: AsyncBuffer = {
      byteLength: opened.size,
      slice(start, end = opened.size) {
        const bytes = readSlice(opened, start < 0 ? opened.size + start : start, end)
        // The library waits for some ranges only when others are read: their errors are told then.
        bytes.catch(() => {})
        return bytes
      },
    }
    const metadata = await parquetMetadataAsync(buffer)
    const tree = parquetSchema(metadata)
    const hub = metadata.key_value_metadata?.find(({ key }) => key === 'huggingface')?.value
    const top = tree.children.map(tableColumn)
    const columns = chooseColumns(file, top, hubFeatures(hub), options.fields ?? {}, report)
    const imageTop = topField(
      columns.image,
      top.map(({ name }) => name),
    )!
    const starts: number[] = []
    let rows = 0
    const leaves = JSON.stringify(leafPaths(tree))
    for (const rowGroup of metadata.row_groups) {
      if (JSON.stringify(rowGroup.columns.map(({ meta_data }) => meta_data?.path_in_schema)) !== leaves)
        throw new Error(`row group ${starts.length} has other columns than the schema`)
      starts.push(rows)
      rows += checkedRows(rowGroup, imageTop, opened.size, starts.length - 1)
    }
    const images = openImageColumn(opened, columns.image, { rowGroups: metadata.row_groups, schema: tree, cache })
    return { path: file, buffer, reader, metadata, columns, images, starts }
  } catch (error) {
    await reader?.close()
    if (error instanceof VtpError) throw error
    throw badParquet(file, errorText(error), error)
  }
}

function badParquet(file: string, what: string, cause: unknown): VtpError {
  return new VtpError(`${file} cannot be read as Parquet: ${what}`, {
    code: 'bad_parquet',
    suggestions: ['the file may be truncated: copy it again'],
    cause,
  })
}

async function readSlice(reader: RangeReader, start: number, end: number): Promise<ArrayBuffer> {
  if (!(start >= 0 && start <= end && end <= reader.size))
    throw new Error(`bytes ${start} to ${end} lie outside of the file`)
  const bytes = await reader.read(start, end - start)
  if (bytes.length === bytes.buffer.byteLength) return bytes.buffer as ArrayBuffer
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) as ArrayBuffer
}

/** The rows of a group. Throws an Error where the file has no room for them: a footer may claim anything. */
function checkedRows({ num_rows, columns }: RowGroup, image: string, fileBytes: number, group: number): number {
  const rows = Number(num_rows)
  let bytes = 0
  for (const { meta_data } of columns) {
    if (meta_data?.path_in_schema[0] !== image) continue
    const start = Number(meta_data.dictionary_page_offset ?? meta_data.data_page_offset)
    const size = Number(meta_data.total_compressed_size)
    if (!(start >= 0 && size >= 0 && start + size <= fileBytes))
      throw new Error(`the images of row group ${group} lie outside of the file`)
    bytes += size
  }
  if (!(rows >= 0) || rows > bytes + ROWS_FOR_FREE)
    throw new Error(`row group ${group} claims ${rows} rows, and has ${bytes} bytes of images`)
  return rows
}
