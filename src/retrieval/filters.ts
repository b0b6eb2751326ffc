/** Conditions on rows, and the mask of the rows that meet them. */
import { usageError } from '../errors.js'
import type { RowReader } from './row-reader.js'
import type { IndexRow } from './segments.js'

export interface RowFilter {
  /** 0-based classes, any of them. */
  labels?: number[]
  /** Text that the caption contains, whatever the case. */
  caption?: string
  minWidth?: number
  maxWidth?: number
  minHeight?: number
  maxHeight?: number
}

export function isEmptyFilter(filter: RowFilter): boolean {
  return Object.values(filter).every((value) => value === undefined)
}

export function matches(row: IndexRow, filter: RowFilter): boolean {
  const { labels, caption, minWidth = 0, minHeight = 0 } = filter
  const { maxWidth = Number.POSITIVE_INFINITY, maxHeight = Number.POSITIVE_INFINITY } = filter
  if (labels && (row.label === null || !labels.includes(row.label))) return false
  if (caption !== undefined && !row.caption?.toLowerCase().includes(caption.toLowerCase())) return false
  return row.width >= minWidth && row.width <= maxWidth && row.height >= minHeight && row.height <= maxHeight
}

/** 1 for each row that meets the filter: uint8 [rows]. Reads the whole table. */
export async function filterMask(reader: RowReader, rows: number, filter: RowFilter): Promise<Uint8Array> {
  const mask = new Uint8Array(rows)
  for await (const batch of reader.scan(4096))
    batch.rows.forEach((row, i) => {
      if (matches(row, filter)) mask[batch.first + i] = 1
    })
  return mask
}

/** Class names or numbers → numbers. Throws a usage error that names the classes. */
export function resolveLabels(names: readonly string[], classes: readonly string[] | null): number[] {
  return names.map((name) => {
    const at = classes?.indexOf(name) ?? -1
    if (at >= 0) return at
    if (/^\d+$/.test(name)) return Number(name)
    throw usageError('unknown_label', `There is no class "${name}" in this index`, [
      classes ? `choose among ${classes.slice(0, 20).join(', ')}` : 'give a number: the index has no class names',
    ])
  })
}
