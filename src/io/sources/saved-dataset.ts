/**
 * A folder that `datasets.Dataset.save_to_disk` has written: `state.json` names Arrow files in the stream
 * format, `dataset_info.json` the features. Record batches are found by their messages' headers once, and read
 * one at a time, the last few being kept. Format: arrow.apache.org/docs/format/Columnar.html, "IPC Streaming".
 */
import path from 'node:path'
import { type DataType, Message, MessageHeader, RecordBatchReader, type Schema, Type } from 'apache-arrow'
import * as z from 'zod'
import { errorText, systemCode, usageError, VtpError } from '../../errors.js'
import { RejectError, type Source } from '../../types.js'
import { checkArrowMessage } from '../arrow-message.js'
import { openRangeReader, type RangeReader, windowed } from '../range-reader.js'
import { uriScheme } from '../store.js'
import type { NamedEntry } from './class-names.js'
import { type DataRecord, topField } from './fields.js'
import { finishListing } from './finish-listing.js'
import { createListingReport } from './listing-report.js'
import type { SourceOptions } from './options.js'
import {
  type ChosenColumns,
  chooseColumns,
  hubFeatures,
  imageOfRow,
  readTableImage,
  rowFields,
  type TableColumn,
} from './table.js'

const CACHED_BATCHES = 2
const MAX_HEADER_BYTES = 16 * 2 ** 20

const stateSchema = z.looseObject({
  _data_files: z.array(z.looseObject({ filename: z.string().regex(/^[^/\\\0]+\.arrow$/) })).min(1),
  _indices_data_files: z.array(z.unknown()).nullish(),
})

/** Whether a folder or an `s3://` prefix is one. */
export async function isSavedDataset(folder: string): Promise<boolean> {
  const there = async (name: string): Promise<boolean> => (await readText(inFolder(folder, name))) !== undefined
  return (await there('dataset_dict.json')) || ((await there('state.json')) && (await there('dataset_info.json')))
}

function inFolder(folder: string, name: string): string {
  return uriScheme(folder) === undefined ? path.join(folder, name) : `${folder.replace(/\/+$/, '')}/${name}`
}

/** Undefined where there is no such file or object. */
async function readText(file: string): Promise<string | undefined> {
  const reader = await openRangeReader(file).catch((error: unknown) => {
    const missing = ['ENOENT', 'ENOTDIR'].includes(systemCode(error) ?? '')
    if (missing || (error instanceof VtpError && error.code === 'not_found')) return undefined
    throw error
  })
  if (!reader) return undefined
  try {
    return (await reader.read(0, Math.min(reader.size, MAX_HEADER_BYTES))).toString()
  } finally {
    await reader.close()
  }
}

interface ArrowFile {
  path: string
  reader: RangeReader
  schema: Schema
  /** The schema's message and dictionaries, which every batch is read with. */
  head: Buffer
  batches: { offset: number; bytes: number }[]
}

/** Throws usage error `dataset_dict` for a folder of several splits, VtpError `bad_dataset` for a damaged one. */
export async function openSavedDataset(folder: string, options: SourceOptions): Promise<Source> {
  const root = uriScheme(folder) === undefined ? path.resolve(folder) : folder.replace(/\/+$/, '')
  const names = await dataFiles(root)
  const report = createListingReport()
  const files = new Map<string, Promise<ArrowFile>>()
  const openFile = (file: string): Promise<ArrowFile> => {
    let opened = files.get(file)
    if (!opened) {
      opened = openArrowFile(file)
      opened.catch(() => {})
      files.set(file, opened)
    }
    return opened
  }
  const first = await openFile(inFolder(root, names[0]!))
  let columns: ChosenColumns
  try {
    const fields = first.schema.fields.map(({ name, type }) => ({ name, kind: columnKind(type as DataType) }))
    const features = hubFeatures(first.schema.metadata.get('huggingface'))
    columns = chooseColumns(root, fields, features, options.fields ?? {}, report)
  } catch (error) {
    await first.reader.close()
    throw error
  }
  const top = (name: string | undefined): string[] =>
    name === undefined
      ? []
      : [
          topField(
            name,
            first.schema.fields.map((field) => field.name),
          )!,
        ]
  let classes = columns.classes
  const cache = new Map<string, Promise<DataRecord[]>>()
  const imagesOf = (file: ArrowFile, batch: number): Promise<DataRecord[]> => {
    const key = `${file.path} ${batch}`
    let rows = cache.get(key)
    if (!rows) {
      rows = readBatch(file, batch, top(columns.image))
      rows.catch(() => cache.delete(key))
      cache.set(key, rows)
      while (cache.size > CACHED_BATCHES) cache.delete(cache.keys().next().value!)
    }
    return rows
  }

  async function* entries(signal?: AbortSignal): AsyncGenerator<NamedEntry> {
    const wanted = [...top(columns.label), ...top(columns.caption), ...(options.metadata ? columns.others : [])]
    if (!options.metadata) for (const name of columns.others) report.noteName('fields', name)
    for (const name of names) {
      const file = await openFile(inFolder(root, name))
      let number = 0
      for (let batch = 0; batch < file.batches.length; batch++) {
        signal?.throwIfAborted()
        const records = await readBatch(file, batch, wanted).catch((error: unknown) => {
          throw damaged(file.path, error)
        })
        for (const [row, record] of records.entries()) {
          const key = `${name}/${String(number).padStart(8, '0')}`
          yield {
            key,
            uri: `${file.path}#row=${number}`,
            ...rowFields(record, key, columns, options, report),
            at: {
              kind: 'arrow',
              path: file.path,
              batch,
              row,
              ...(options.fields?.image ? { column: options.fields.image } : {}),
            },
          }
          number++
        }
      }
    }
  }

  return {
    kind: 'dataset',
    uri: root,
    get classes() {
      return classes
    },
    get passedOver() {
      return report.passedOver
    },
    get notes() {
      return report.notes
    },
    list: (signal) =>
      finishListing(entries(signal), options, report, (found) => {
        classes = found
      }),
    async read(entry, signal) {
      const { at } = entry
      if (at.kind !== 'arrow') throw new RejectError('bad_entry', 'read', `the entry is of kind ${at.kind}`)
      if (!names.some((name) => inFolder(root, name) === at.path))
        throw new RejectError('not_found', 'read', `${at.path} is not part of the source`)
      let value: unknown
      try {
        const record = (await imagesOf(await openFile(at.path), at.batch))[at.row]
        value = record && imageOfRow(record, at.column ?? columns.image)
      } catch (error) {
        throw new RejectError('unreadable', 'read', `record batch ${at.batch}: ${errorText(error)}`, error)
      }
      return readTableImage(entry, value, at.path, { ...options, signal })
    },
    close: async () => {
      cache.clear()
      await Promise.allSettled([...files.values()].map(async (file) => (await file).reader.close()))
    },
  }
}

async function dataFiles(root: string): Promise<string[]> {
  const dict = await readText(inFolder(root, 'dataset_dict.json'))
  if (dict !== undefined) {
    const splits = (JSON.parse(dict) as { splits?: string[] }).splits ?? []
    throw usageError('dataset_dict', `${root} holds several splits: ${splits.join(', ')}`, [
      `give one of them: ${inFolder(root, splits[0] ?? 'train')}`,
    ])
  }
  const file = inFolder(root, 'state.json')
  try {
    const state = stateSchema.parse(JSON.parse((await readText(file)) ?? ''))
    if (state._indices_data_files?.length) throw new Error('it has a table of indices: save it after flatten_indices()')
    return state._data_files.map(({ filename }) => filename)
  } catch (error) {
    throw damaged(file, error)
  }
}

function damaged(file: string, error: unknown): VtpError {
  return new VtpError(`${file} cannot be read: ${errorText(error).slice(0, 300)}`, {
    code: 'bad_dataset',
    suggestions: ['save the dataset anew by save_to_disk, or give its Parquet files'],
    cause: error,
  })
}

async function openArrowFile(file: string): Promise<ArrowFile> {
  let reader: RangeReader | undefined
  try {
    reader = await openRangeReader(file)
    const readNext = windowed(reader)
    const heads: Buffer[] = []
    const batches: ArrowFile['batches'] = []
    for (let at = 0; ; ) {
      if (at + 8 > reader.size) throw new Error('it ends without its end mark: it may be cut off')
      const start = await readNext(at, 8)
      // 0xFFFFFFFF, then the length of the header; 0 is the end.
      const [mark, bytes] = [start.readUInt32LE(0), start.readInt32LE(4)]
      if (mark === 0xffffffff && bytes === 0) break
      if (mark !== 0xffffffff || bytes < 0 || bytes > MAX_HEADER_BYTES) throw new Error(`no message at byte ${at}`)
      const header = await readNext(at + 8, bytes)
      checkArrowMessage(header)
      const message = Message.decode(header)
      const whole = 8 + bytes + message.bodyLength
      if (!(whole > 8) || at + whole > reader.size) throw new Error(`the message at byte ${at} is cut off`)
      if (message.headerType === MessageHeader.RecordBatch) batches.push({ offset: at, bytes: whole })
      else heads.push(await reader.read(at, whole))
      at += whole
    }
    const head = Buffer.concat(heads)
    const { schema } = await RecordBatchReader.from(head).open()
    if (!schema?.fields.every(({ name }) => typeof name === 'string')) throw new Error('its schema makes no sense')
    return { path: file, reader, schema, head, batches }
  } catch (error) {
    await reader?.close()
    throw damaged(file, error)
  }
}

/** The rows of a record batch, with these columns only. */
async function readBatch(file: ArrowFile, index: number, names: string[]): Promise<DataRecord[]> {
  const { offset, bytes } = file.batches[index]!
  const stream = RecordBatchReader.from(Buffer.concat([file.head, await file.reader.read(offset, bytes)]))
  const rows: DataRecord[] = []
  for (const batch of stream) {
    // A header may claim anything; every row takes a byte.
    if (batch.numRows > bytes) throw new Error(`it claims ${batch.numRows} rows in ${bytes} bytes`)
    const columns = names.map((name) => [name, batch.getChild(name)] as const)
    for (let i = 0; i < batch.numRows; i++)
      rows.push(Object.fromEntries(columns.map(([name, column]) => [name, plain(column?.get(i))])))
  }
  return rows
}

/** Structs and lists of Arrow as plain values. */
function plain(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array || value instanceof Date) return value
  const { toJSON } = value as { toJSON?: () => unknown }
  const inner = toJSON ? toJSON.call(value) : value
  if (Array.isArray(inner) || ArrayBuffer.isView(inner)) return Array.from(inner as Iterable<unknown>, plain)
  if (typeof inner !== 'object' || inner === null) return inner
  return Object.fromEntries(Object.entries(inner).map(([name, field]) => [name, plain(field)]))
}

function columnKind(type: DataType): TableColumn['kind'] {
  switch (type.typeId) {
    case Type.Struct: {
      const bytes = type.children?.find((child) => child.name === 'bytes')
      return bytes && isBytes(bytes.type as DataType) ? 'image' : 'other'
    }
    case Type.Utf8:
    case Type.LargeUtf8:
      return 'text'
    case Type.Dictionary:
    case Type.Int:
    case Type.Float:
    case Type.Bool:
    case Type.Timestamp:
    case Type.Date:
      return 'scalar'
    default:
      return isBytes(type) ? 'bytes' : 'other'
  }
}

function isBytes({ typeId }: DataType): boolean {
  return typeId === Type.Binary || typeId === Type.LargeBinary
}
