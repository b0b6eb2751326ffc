/** Flags that the commands on an index share, and what they mean. */
import { Args, Flags } from '@oclif/core'
import type { RowFilter } from '../../retrieval/filters.js'

export const INDEX_ARG = Args.string({
  name: 'INDEX',
  required: true,
  ignoreStdin: true,
  description: 'A folder that `vtp index` wrote.',
})

export const QUERY_MODEL_FLAG = Flags.string({
  char: 'm',
  summary: "The model for queries. Default: the index's own, where it is known.",
  helpValue: 'MODEL',
})

export const QUERY_PRECISION_FLAG = Flags.string({
  default: 'auto',
  summary: 'Arithmetic of the model for queries, which runs on the CPU: auto (fp32), fp32 or int8.',
  helpValue: 'NAME',
})

export const FILTER_FLAGS = {
  label: Flags.string({
    multiple: true,
    multipleNonGreedy: true,
    summary: 'Only rows of this class, by name or number; may be repeated.',
    helpValue: 'CLASS',
    helpGroup: 'FILTER',
  }),
  caption: Flags.string({
    summary: 'Only rows whose caption contains this text.',
    helpValue: 'TEXT',
    helpGroup: 'FILTER',
  }),
  'min-width': Flags.integer({ min: 0, summary: 'Only images at least this wide.', helpGroup: 'FILTER' }),
  'max-width': Flags.integer({ min: 0, summary: 'Only images at most this wide.', helpGroup: 'FILTER' }),
  'min-height': Flags.integer({ min: 0, summary: 'Only images at least this high.', helpGroup: 'FILTER' }),
  'max-height': Flags.integer({ min: 0, summary: 'Only images at most this high.', helpGroup: 'FILTER' }),
} as const

export interface FilterFlags {
  label?: string[]
  caption?: string
  'min-width'?: number
  'max-width'?: number
  'min-height'?: number
  'max-height'?: number
}

/** The filter of the flags; labels become numbers by `resolve`. */
export function toFilter(flags: FilterFlags, resolve: (names: string[]) => number[]): RowFilter {
  return {
    labels: flags.label ? resolve(flags.label) : undefined,
    caption: flags.caption,
    minWidth: flags['min-width'],
    maxWidth: flags['max-width'],
    minHeight: flags['min-height'],
    maxHeight: flags['max-height'],
  }
}
