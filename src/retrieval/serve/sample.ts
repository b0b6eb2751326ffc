/**
 * What is shown before the first query: rows from all over the index, in an order that is the same every time. The
 * order walks around the index in steps of the golden section, so that any beginning of it is spread evenly.
 */
import { isEmptyFilter, type RowFilter } from '../filters.js'
import type { OpenIndex } from '../open-index.js'

const GOLDEN_SECTION = (Math.sqrt(5) - 1) / 2

const divisor = (a: number, b: number): number => (b === 0 ? a : divisor(b, a % b))

/** Every row of an index of `rows` once, from the first on. */
export function* spreadRows(rows: number): Generator<number> {
  let step = Math.max(1, Math.round(rows * GOLDEN_SECTION))
  while (divisor(step, rows) !== 1) step++
  for (let i = 0, row = 0; i < rows; i++, row = (row + step) % rows) yield row
}

/** The first `count` rows of that order that meet the filter. */
export async function sampleRows(index: OpenIndex, count: number, filter: RowFilter): Promise<number[]> {
  const mask = isEmptyFilter(filter) ? undefined : await index.mask(filter)
  const found: number[] = []
  for (const row of spreadRows(index.manifest.rows)) {
    if (found.length === count) break
    if (!mask || mask[row] === 1) found.push(row)
  }
  return found
}
