/**
 * Results as a table for spreadsheets and pandas (RFC 4180, UTF-8 with a byte order mark). With its columns it is a
 * SOURCE of `vtp encode`, too. A text that a spreadsheet would take for a formula gets an apostrophe in front: names
 * and captions come from strangers.
 */
import type { HitJson } from '../hits.js'

const COLUMNS = ['rank', 'score', 'key', 'uri', 'label', 'class', 'caption', 'width', 'height', 'missing'] as const

type Result = Omit<HitJson, 'score'> & { score: number | null }

export function resultsCsv(results: readonly Result[]): string {
  const lines = results.map((hit) => {
    const values: Record<(typeof COLUMNS)[number], unknown> = { ...hit, class: hit.className }
    return COLUMNS.map((name) => csvField(values[name])).join(',')
  })
  return `\ufeff${[COLUMNS.join(','), ...lines].join('\r\n')}\r\n`
}

function csvField(value: unknown): string {
  if (value === null || value === undefined) return ''
  if (typeof value !== 'string') return String(value)
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
