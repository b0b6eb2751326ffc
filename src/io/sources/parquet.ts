/**
 * Parquet files with images: a column of bytes, or of structs {bytes, path} as Hugging Face datasets write
 * it; integer `label` and text `caption`/`text` columns are used when there are any. Rows are listed from
 * metadata columns only; image bytes are read one row group at a time, the last few being kept.
 */
import path from 'node:path'
import {
  type AsyncBuffer,
  type FileMetaData,
  parquetMetadataAsync,
  parquetReadObjects,
  type SchemaElement,
} from 'hyparquet'
import { compressors } from 'hyparquet-compressors'
import { mapOrdered } from '../../async/map-ordered.js'
import { errorText, usageError, VtpError } from '../../errors.js'
import { type ListingEntry, RejectError, type Source } from '../../types.js'
import { openRangeReader, type RangeReader } from '../range-reader.js'
import { absolutePath, commonFolder } from './common-folder.js'
import type { SourceOptions } from './index.js'
import { DEFAULT_MAX_BYTES } from './read-file.js'

/** Row groups whose images are kept: reads come in order, from one or two at a time. */
const CACHED_GROUPS = 3
/** Files whose footers are read at once while listing. */
const FILES_AT_ONCE = 8

interface ImageFile {
  path: string
  buffer: AsyncBuffer
  reader: RangeReader
  metadata: FileMetaData
  image: string
  label?: string
  caption?: string
  /** First row of each row group. */
  starts: number[]
}

export async function openParquet(specs: string[], options: SourceOptions): Promise<Source> {
  const order = specs.map(absolutePath)
  const known = new Set(order)
  const files = new Map<string, Promise<ImageFile>>()
  const openFile = (name: string): Promise<ImageFile> => {
    let file = files.get(name)
    if (!file) {
      file = openImageFile(name, options.imageColumn)
      file.catch(() => {})
      files.set(name, file)
    }
    return file
  }
  // A wrong kind of file is told at once; a worker needs only the files of its units.
  await openFile(order[0]!)
  const cache = new Map<string, Promise<unknown[]>>()

  const group = (file: ImageFile, index: number): Promise<unknown[]> => {
    const key = `${file.path} ${index}`
    let rows = cache.get(key)
    if (!rows) {
      rows = readColumns(file, [file.image], index).then((objects) => objects.map((row) => row[file.image]))
      rows.catch(() => cache.delete(key))
      cache.set(key, rows)
      while (cache.size > CACHED_GROUPS) cache.delete(cache.keys().next().value!)
    }
    return rows
  }

  return {
    kind: 'parquet',
    uri: order.length === 1 ? order[0]! : `${order[0]} … ${order.at(-1)} (${order.length} files)`,
    ignored: 0,
    async *list(signal) {
      const base = commonFolder(order)
      for await (const file of mapOrdered(order, FILES_AT_ONCE, openFile)) {
        const wanted = [file.label, file.caption].filter((column) => column !== undefined)
        for (let index = 0; index < file.starts.length; index++) {
          signal?.throwIfAborted()
          const count = Number(file.metadata.row_groups[index]!.num_rows)
          const metas = wanted.length > 0 ? await readColumns(file, wanted, index) : undefined
          for (let row = 0; row < count; row++) yield toEntry(file, base, index, row, metas?.[row])
        }
      }
    },
    async read(entry) {
      if (entry.at.kind !== 'parquet')
        throw new RejectError('bad_entry', 'read', `the entry is of kind ${entry.at.kind}`)
      if (!known.has(entry.at.path))
        throw new RejectError('not_found', 'read', `${entry.at.path} is not part of the source`)
      let value: unknown
      try {
        const file = await openFile(entry.at.path)
        if (entry.at.etag !== undefined && file.reader.etag !== entry.at.etag)
          throw new RejectError('changed', 'read', 'the file is not the one that was listed (its ETag differs)')
        value = (await group(file, entry.at.rowGroup))[entry.at.row]
      } catch (error) {
        if (error instanceof RejectError) throw error
        if (error instanceof VtpError) {
          if (error.code === 'not_found') throw new RejectError('not_found', 'read', 'no such object', error)
          if (error.code === 's3_changed') throw new RejectError('changed', 'read', 'the file changed', error)
          // The service as a whole: no image may be lost to it.
          if (error.code.startsWith('s3_')) throw error
        }
        throw new RejectError('unreadable', 'read', `row group ${entry.at.rowGroup}: ${errorText(error)}`, error)
      }
      return imageBytes(value, options.maxBytes ?? DEFAULT_MAX_BYTES)
    },
    close: async () => {
      cache.clear()
      await Promise.allSettled([...files.values()].map(async (file) => (await file).reader.close()))
    },
  }
}

function imageBytes(value: unknown, maxBytes: number): Uint8Array {
  const bytes = value instanceof Uint8Array ? value : (value as { bytes?: unknown } | null)?.bytes
  if (!(bytes instanceof Uint8Array)) throw new RejectError('empty', 'read', 'the row has no image bytes')
  if (bytes.length === 0) throw new RejectError('empty', 'read', 'the image has 0 bytes')
  if (bytes.length > maxBytes) {
    throw new RejectError('too_many_bytes', 'read', `${bytes.length} bytes are more than the limit of ${maxBytes}`)
  }
  return bytes.slice()
}

function toEntry(
  file: ImageFile,
  base: string,
  rowGroup: number,
  row: number,
  meta: Record<string, unknown> | undefined,
): ListingEntry {
  const number = file.starts[rowGroup]! + row
  const entry: ListingEntry = {
    key: `${path.relative(base, file.path)}/${String(number).padStart(8, '0')}`,
    uri: `${file.path}#row=${number}`,
    at: {
      kind: 'parquet',
      path: file.path,
      rowGroup,
      row,
      ...(file.reader.etag ? { etag: file.reader.etag } : {}),
    },
  }
  const label = file.label && meta?.[file.label]
  if (typeof label === 'number' || typeof label === 'bigint') entry.label = Number(label)
  const caption = file.caption && meta?.[file.caption]
  if (typeof caption === 'string') entry.caption = caption
  return entry
}

async function readColumns(file: ImageFile, columns: string[], group: number): Promise<Record<string, unknown>[]> {
  const rowStart = file.starts[group]!
  const rowEnd = rowStart + Number(file.metadata.row_groups[group]!.num_rows)
  const { buffer, metadata } = file
  return parquetReadObjects({ file: buffer, metadata, columns, rowStart, rowEnd, compressors, utf8: false })
}

async function openImageFile(file: string, wanted: string | undefined): Promise<ImageFile> {
  let reader: RangeReader
  let metadata: FileMetaData
  let buffer: AsyncBuffer
  try {
    const opened = await openRangeReader(file)
    reader = opened
    buffer = {
      byteLength: opened.size,
      slice: async (start, end = opened.size) => {
        const from = start < 0 ? opened.size + start : start
        const bytes = await opened.read(from, end - from)
        return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) as ArrayBuffer
      },
    }
    metadata = await parquetMetadataAsync(buffer)
  } catch (error) {
    if (error instanceof VtpError) throw error
    throw new VtpError(`${file} cannot be read as Parquet: ${errorText(error)}`, {
      code: 'bad_parquet',
      suggestions: ['the file may be truncated: copy it again'],
      cause: error,
    })
  }
  const top = topColumns(metadata.schema)
  const image = wanted ?? (top.find((c) => c.name === 'image' && c.isImage) ?? top.find((c) => c.isImage))?.name
  if (!image || !top.some((c) => c.name === image)) {
    throw usageError(
      'no_image_column',
      `${file} has no column of images (it has ${top.map((c) => c.name).join(', ')})`,
      ['an image column holds bytes, or structs with a field "bytes"'],
    )
  }
  const label = top.find((c) => c.name === 'label' && c.isInteger)?.name
  const caption = top.find((c) => (c.name === 'caption' || c.name === 'text') && c.isText)?.name
  const starts: number[] = []
  let rows = 0
  for (const rowGroup of metadata.row_groups) {
    starts.push(rows)
    rows += Number(rowGroup.num_rows)
  }
  return { path: file, buffer, reader, metadata, image, label, caption, starts }
}

interface TopColumn {
  name: string
  isImage: boolean
  isInteger: boolean
  isText: boolean
}

/** The columns right below the root, with what they may be. */
function topColumns(schema: SchemaElement[]): TopColumn[] {
  const columns: TopColumn[] = []
  const skip = (at: number): number => {
    let next = at + 1
    for (let i = 0; i < (schema[at]?.num_children ?? 0); i++) next = skip(next)
    return next
  }
  for (let at = 1; at < schema.length; ) {
    const element = schema[at]!
    const end = skip(at)
    const isText = element.converted_type === 'UTF8' || element.logical_type?.type === 'STRING'
    const children = schema.slice(at + 1, end)
    columns.push({
      name: element.name,
      isImage:
        (element.type === 'BYTE_ARRAY' && !isText) ||
        children.some((c) => c.name === 'bytes' && c.type === 'BYTE_ARRAY'),
      isInteger: element.type === 'INT32' || element.type === 'INT64',
      isText,
    })
    at = end
  }
  return columns
}
