/**
 * Tables of images (Parquet, or Arrow files that `datasets` has saved): which column is the image, the label, the
 * caption; what a row's entry takes from it; and where its bytes are. The image may be bytes, a struct
 * {bytes, path} as Hugging Face datasets write it, or a path or address, relative to the table's folder.
 */
import path from 'node:path'
import { usageError } from '../../errors.js'
import { type ListingEntry, RejectError } from '../../types.js'
import { shownAddress } from '../redact.js'
import { uriScheme } from '../store.js'
import { parseAddress } from './addresses.js'
import type { NamedEntry } from './class-names.js'
import { type DataRecord, fieldValue, imageField, takeFields, topField } from './fields.js'
import type { ListingReport } from './listing-report.js'
import type { FieldNames, SourceOptions } from './options.js'
import { DEFAULT_MAX_BYTES, readLocation } from './read-file.js'

export interface TableColumn {
  name: string
  /** `image`: a struct with bytes; `scalar`: a number, a text, a list of texts and the like. */
  kind: 'image' | 'bytes' | 'text' | 'scalar' | 'other'
}

/** A feature of `datasets`, as its schema metadata `huggingface` tells. */
export interface Feature {
  type: string
  names?: string[]
}

export interface ChosenColumns {
  image: string
  label?: string
  caption?: string
  /** Class names of the label, where the table tells them. */
  classes?: string[]
  /** Further columns that metadata may take. */
  others: string[]
}

/** The features in the schema metadata of a table; empty where there are none. */
export function hubFeatures(metadata: string | undefined): Map<string, Feature> {
  const features = new Map<string, Feature>()
  try {
    const parsed = JSON.parse(metadata ?? '{}') as { info?: { features?: Record<string, unknown> } }
    for (const [name, feature] of Object.entries(parsed.info?.features ?? {})) {
      const { _type, names } = (feature ?? {}) as { _type?: unknown; names?: unknown }
      if (typeof _type !== 'string') continue
      const known = Array.isArray(names) && names.every((text) => typeof text === 'string')
      features.set(name, { type: _type, ...(known ? { names: names as string[] } : {}) })
    }
  } catch {
    // Not written by datasets.
  }
  return features
}

/** Usual names of columns with the bytes of images. */
const IMAGE_NAMES = ['image', 'img', 'jpg', 'jpeg', 'png', 'webp', 'image_bytes', 'bytes', 'data', 'content']

/** Throws usage errors `no_column`, `no_image_column`, `many_image_columns`. */
export function chooseColumns(
  file: string,
  columns: TableColumn[],
  features: Map<string, Feature>,
  fields: FieldNames,
  report: ListingReport,
): ChosenColumns {
  const names = columns.map(({ name }) => name)
  for (const what of ['image', 'label', 'caption'] as const) {
    const name = fields[what]
    if (name !== undefined && topField(name, names) === undefined)
      throw usageError('no_column', `${file} has no column "${name}" (--${what}-column); it has ${names.join(', ')}`)
  }
  const image = fields.image ?? imageColumn(file, columns, features)
  const label = fields.label ?? labelColumn(columns, features, report)
  const caption = fields.caption ?? ['caption', 'text', 'TEXT'].find((name) => names.includes(name))
  const classes = label === undefined ? undefined : features.get(label)?.names
  const taken = [image, label, caption].map((name) => name && topField(name, names))
  const others = columns
    .filter(({ name, kind }) => !taken.includes(name) && kind !== 'bytes' && kind !== 'image')
    .map(({ name }) => name)
  return { image, label, caption, others, ...(classes ? { classes } : {}) }
}

function imageColumn(file: string, columns: TableColumn[], features: Map<string, Feature>): string {
  const names = columns.map(({ name }) => name)
  const ofKind = (kind: TableColumn['kind']) => columns.filter((c) => c.kind === kind).map(({ name }) => name)
  const declared = names.filter((name) => features.get(name)?.type === 'Image')
  const bytes = ofKind('bytes')
  for (const candidates of [declared, ofKind('image'), bytes]) {
    const [first, second] = candidates
    const usual = IMAGE_NAMES.find((name) => candidates.includes(name))
    if (usual ?? (second === undefined && first)) return usual ?? first!
    if (second !== undefined) {
      throw usageError(
        'many_image_columns',
        `${file} has several columns that may be the image: ${candidates.join(', ')}`,
        [`choose one by --image-column ${first}`],
      )
    }
  }
  const texts = ofKind('text')
  const address = imageField(texts) ?? texts.find((name) => imageField([name.toLowerCase()]))
  if (address !== undefined) return address
  throw usageError('no_image_column', `${file} has no column of images (it has ${names.join(', ')})`, [
    'an image column holds bytes, structs with a field "bytes", or paths',
    'choose one by --image-column',
  ])
}

function labelColumn(
  columns: TableColumn[],
  features: Map<string, Feature>,
  report: ListingReport,
): string | undefined {
  const fits = (name: string): boolean =>
    columns.some((c) => c.name === name && (c.kind === 'scalar' || c.kind === 'text'))
  const usual = ['label', 'cls'].find(fits)
  if (usual !== undefined) return usual
  const declared = columns.map(({ name }) => name).filter((name) => features.get(name)?.type === 'ClassLabel')
  if (declared.length > 1) for (const name of declared) report.noteName('columns', name)
  return declared.length === 1 ? declared[0] : undefined
}

/** What an entry takes from its row. */
export function rowFields(
  row: DataRecord,
  place: string,
  { label, caption }: ChosenColumns,
  options: SourceOptions,
  report: ListingReport,
): Partial<NamedEntry> {
  const wanted = (['label', 'caption'] as const).filter((what) => ({ label, caption })[what] !== undefined)
  const fields = { ...(label ? { label } : {}), ...(caption ? { caption } : {}) }
  return takeFields(row, place, { fields, metadata: options.metadata }, report, wanted).entry
}

/**
 * The bytes of a row's image, from the table or from where its path leads. Throws RejectErrors for this image,
 * VtpErrors for a service as a whole.
 */
export async function readTableImage(
  entry: ListingEntry,
  value: unknown,
  table: string,
  options: SourceOptions & { signal?: AbortSignal },
): Promise<Uint8Array> {
  const { bytes, address } = imageValue(value)
  if (bytes) {
    const maxBytes = options.maxBytes ?? DEFAULT_MAX_BYTES
    if (bytes.length === 0) throw new RejectError('empty', 'read', 'the image has 0 bytes')
    if (bytes.length > maxBytes)
      throw new RejectError('too_many_bytes', 'read', `${bytes.length} bytes are more than the limit of ${maxBytes}`)
    return bytes.slice()
  }
  if (address === undefined) throw new RejectError('empty', 'read', 'the row has no image: neither bytes nor a path')
  const parsed = parseAddress(address, path.dirname(table))
  if ('problem' in parsed) throw new RejectError('bad_entry', 'read', parsed.problem)
  const at = 'at' in parsed ? parsed.at : ({ kind: 'file', path: parsed.secret } as const)
  if (uriScheme(table) !== undefined && uriScheme(at.path) === undefined)
    throw new RejectError('bad_entry', 'read', 'a table elsewhere names a file of this machine')
  try {
    return await readLocation({ ...entry, at }, { ...options, ownBuckets: true })
  } catch (error) {
    if (!(error instanceof RejectError)) throw error
    throw new RejectError(error.code, error.stage, `${shownAddress(address)}: ${error.message}`, error.cause)
  }
}

function imageValue(value: unknown): { bytes?: Uint8Array; address?: string } {
  if (value instanceof Uint8Array) return { bytes: value }
  if (typeof value === 'string') return value.trim() === '' ? {} : { address: value.trim() }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return {}
  const { bytes, path: file } = value as { bytes?: unknown; path?: unknown }
  if (bytes instanceof Uint8Array) return { bytes }
  const address = file instanceof Uint8Array ? Buffer.from(file).toString() : file
  return typeof address === 'string' && address.trim() !== '' ? { address: address.trim() } : {}
}

/** The image's value in a row of the image's top column. */
export function imageOfRow(row: DataRecord, image: string): unknown {
  return fieldValue(row, image)
}
