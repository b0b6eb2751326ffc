/** Flags that say how SOURCE is read: which fields or columns count, and how much of it. */
import { Flags } from '@oclif/core'
import type { FieldNames } from '../../io/sources/options.js'

const column = (what: string) =>
  Flags.string({
    summary: `Column (or field of a list) with ${what}, where it does not have the usual name.`,
    helpValue: 'NAME',
  })

/** Of every command that takes SOURCE. */
export const COLUMN_FLAGS = {
  'image-column': column('the image: bytes, a struct with bytes, a path or an address'),
  'label-column': column('the label'),
  'caption-column': column('the caption'),
  'key-column': Flags.string({
    summary: 'Field of a list with the key, where it does not have the usual name.',
    helpValue: 'NAME',
  }),
}

/** Of commands that make a plan. */
export const SOURCE_FLAGS = {
  ...COLUMN_FLAGS,
  limit: Flags.integer({
    min: 1,
    summary: 'Take the first N images of the listing only; labels are those of the whole source.',
    helpValue: 'N',
  }),
  metadata: Flags.boolean({
    default: false,
    summary:
      "Keep the source's other fields (columns, fields of lists, .json members): column metadata, one JSON object per row.",
  }),
}

export type ColumnValues = { [K in keyof typeof COLUMN_FLAGS]?: string }

/** The names that were given; undefined for none. */
export function fieldNames(flags: ColumnValues): FieldNames | undefined {
  const names: FieldNames = {}
  for (const what of ['image', 'label', 'caption', 'key'] as const) {
    const name = flags[`${what}-column`]
    if (name !== undefined) names[what] = name
  }
  return Object.keys(names).length > 0 ? names : undefined
}
