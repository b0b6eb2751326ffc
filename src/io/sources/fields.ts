/**
 * One record (a line of JSON or CSV, a row of a table, a sample's `.json`) → what an entry takes from it: image,
 * key, label, caption, and the other fields. Missing values (null, NaN) are no values; what cannot be taken is
 * told of in the report.
 */
import type { NamedEntry } from './class-names.js'
import { readLabel } from './labels.js'
import type { ListingReport, NoteCode } from './listing-report.js'
import type { FieldNames, SourceOptions } from './options.js'

/** Usual names, the first one that is there counts. */
const NAMES: Record<keyof FieldNames, readonly string[]> = {
  image: ['uri', 'url', 'path', 'image', 'file_name', 'filename', 'image_path'],
  key: ['key'],
  label: ['label', 'cls'],
  caption: ['caption', 'text'],
}

export type DataRecord = Record<string, unknown>

export interface TakenFields {
  /** The image's address, or whatever stands in its field. */
  image?: unknown
  key?: string
  /** To be put into an entry. */
  entry: Pick<NamedEntry, 'label' | 'className' | 'caption' | 'metadata'>
}

/** The value of a field; a dot leads into a struct unless the whole name is a field. */
export function fieldValue(record: DataRecord, name: string): unknown {
  if (Object.hasOwn(record, name)) return record[name]
  let value: unknown = record
  for (const part of name.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, part)) return undefined
    value = (value as DataRecord)[part]
  }
  return value
}

/** The top field of a name that may lead into a struct. */
export function topField(name: string, fields: readonly string[]): string | undefined {
  if (fields.includes(name)) return name
  const parts = name.split('.')
  for (let n = parts.length - 1; n > 0; n--) {
    const top = parts.slice(0, n).join('.')
    if (fields.includes(top)) return top
  }
  return undefined
}

function missing(value: unknown): boolean {
  return value === undefined || value === null || Number.isNaN(value)
}

function present(value: unknown): boolean {
  return !missing(value) && value !== ''
}

const ALL = ['image', 'key', 'label', 'caption'] as const

/** Takes what is wanted from a record; `place` names it in the report. */
export function takeFields(
  record: DataRecord,
  place: string,
  options: Pick<SourceOptions, 'fields' | 'metadata'>,
  report: ListingReport,
  wanted: readonly (keyof FieldNames)[] = ALL,
): TakenFields {
  const taken = new Set<string>()
  const take = (what: keyof FieldNames): unknown => {
    if (!wanted.includes(what)) return undefined
    const chosen = options.fields?.[what]
    if (chosen !== undefined) {
      if (Object.hasOwn(record, chosen)) taken.add(chosen)
      return fieldValue(record, chosen)
    }
    const isThere = what === 'caption' ? (value: unknown) => !missing(value) : present
    const name = NAMES[what].find((candidate) => Object.hasOwn(record, candidate) && isThere(record[candidate]))
    if (name === undefined) return undefined
    taken.add(name)
    return record[name]
  }
  const out: TakenFields = { entry: {} }
  const image = take('image')
  if (present(image)) out.image = image
  const key = take('key')
  if (present(key)) {
    if (typeof key === 'object') taken.delete(options.fields?.key ?? 'key')
    else out.key = String(key)
  }
  const told = new Set<string>()
  const tell = (what: 'label' | 'caption', code: NoteCode, value: unknown, name: string): void => {
    report.note(code, `${shown(value)} of ${place}`)
    // The value is lost there: it stays among the others.
    const field = options.fields?.[what] ?? name
    taken.delete(field)
    told.add(field)
  }
  const labelName = usualName('label', record)
  const labelValue = take('label')
  const { problem, ...label } = readLabel(labelValue)
  Object.assign(out.entry, label)
  if (problem) tell('label', problem, labelValue, labelName)
  const captionName = usualName('caption', record)
  const captionValue = take('caption')
  const caption = readCaption(captionValue)
  if (caption.caption !== undefined) out.entry.caption = caption.caption
  if (caption.problem) tell('caption', caption.problem, captionValue, captionName)
  const rest = Object.entries(record).filter(([name, value]) => !taken.has(name) && !missing(value))
  if (rest.length === 0) return out
  if (options.metadata) out.entry.metadata = JSON.stringify(Object.fromEntries(rest), plainValue)
  else for (const [name] of rest) if (!told.has(name)) report.noteName('fields', name)
  return out
}

function usualName(what: keyof FieldNames, record: DataRecord): string {
  return NAMES[what].find((name) => present(record[name])) ?? what
}

/** A text, or the first of several. */
export function readCaption(value: unknown): { caption?: string; problem?: 'caption_kind' | 'caption_list' } {
  if (missing(value)) return {}
  if (typeof value === 'string') return { caption: value }
  if (!Array.isArray(value) || value.some((text) => typeof text !== 'string' && present(text)))
    return { problem: 'caption_kind' }
  const texts = value.filter((text): text is string => present(text))
  const [caption] = texts
  if (caption === undefined) return {}
  return { caption, ...(texts.length > 1 ? { problem: 'caption_list' as const } : {}) }
}

function shown(value: unknown): string {
  const text = JSON.stringify(value, plainValue) ?? String(value)
  return text.length > 40 ? `${text.slice(0, 39)}…` : text
}

/** Values of tables that JSON does not know. */
function plainValue(_: string, value: unknown): unknown {
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : String(value)
  if (ArrayBuffer.isView(value))
    return value instanceof Uint8Array ? undefined : Array.from(value as unknown as Iterable<unknown>)
  return value
}

/** The field that names the image, among these; undefined when there is none. */
export function imageField(names: readonly string[]): string | undefined {
  return NAMES.image.find((name) => names.includes(name))
}
