/** Numbers and tables as people read them. Output is ASCII-plain except for units; nothing here is parsed back. */
import { cleanLine, printable, shortened } from './clean.js'

const BYTE_UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB']

/** Decimal units, three significant digits: 999 → "999 B", 1_234_567 → "1.23 MB". */
export function formatBytes(bytes: number): string {
  if (!Number.isFinite(bytes)) return '? B'
  let value = Math.abs(bytes)
  let unit = 0
  // 999.6 would round to "1000": it belongs to the next unit already.
  while (value >= 999.5 && unit < BYTE_UNITS.length - 1) {
    value /= 1000
    unit++
  }
  return `${bytes < 0 ? '-' : ''}${unit === 0 ? Math.round(value) : threeDigits(value)} ${BYTE_UNITS[unit]}`
}

function threeDigits(value: number): string {
  if (value >= 99.95) return value.toFixed(0)
  if (value >= 9.995) return value.toFixed(1)
  return value.toFixed(2)
}

/** 1234567 → "1,234,567"; fractions are dropped. */
export function formatCount(count: number): string {
  if (!Number.isFinite(count)) return '?'
  return Math.trunc(count)
    .toString()
    .replace(/\B(?=(\d{3})+$)/g, ',')
}

/** 0.4 → "0.4 s", 75 → "1 min 15 s", 7265 → "2 h 01 min", 90000 → "1 d 1 h". */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds) || seconds < 0) return '?'
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`
  const whole = Math.round(seconds)
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${pad2(whole % 60)} s`
  const minutes = Math.round(seconds / 60)
  if (minutes < 24 * 60) return `${Math.floor(minutes / 60)} h ${pad2(minutes % 60)} min`
  const hours = Math.round(seconds / 3600)
  return `${Math.floor(hours / 24)} d ${hours % 24} h`
}

function pad2(value: number): string {
  return String(value).padStart(2, '0')
}

/** 12.345 and "images/s" → "12.3 images/s"; 12345 → "12,345 images/s". */
export function formatRate(perSecond: number, unit: string): string {
  if (!Number.isFinite(perSecond)) return `? ${unit}`
  return `${perSecond >= 999.5 ? formatCount(Math.round(perSecond)) : threeDigits(perSecond)} ${unit}`
}

/** 0.1234 → "12.3 %". */
export function formatPercent(share: number): string {
  return Number.isFinite(share) ? `${(share * 100).toFixed(1)} %` : '? %'
}

export interface TableOptions {
  /** Columns (0-based) that are aligned to the right. */
  right?: number[]
  /** Printed before every line. */
  indent?: string
}

/** Of every column but the last. */
const LONGEST_CELL = 80

/** Lines of a table whose columns are as wide as their longest cell; two spaces between them. */
export function formatTable(rows: readonly (readonly string[])[], options: TableOptions = {}): string[] {
  const { right = [], indent = '' } = options
  const widths: number[] = []
  // What a terminal shows is what is measured; one long name must not push the other columns away.
  const clean = rows.map((row) =>
    row.map((cell, i) => (i < row.length - 1 ? shortened(cleanLine(cell), LONGEST_CELL) : printable(cell))),
  )
  for (const row of clean) {
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, [...cell].length)
  }
  return clean.map((row) => {
    const cells = row.map((cell, i) => {
      const gap = ' '.repeat(widths[i]! - [...cell].length)
      return right.includes(i) ? gap + cell : cell + gap
    })
    return (indent + cells.join('  ')).trimEnd()
  })
}

/** 1 and "reject" → "1 reject"; 2 → "2 rejects". Give the plural where it is not made with an s. */
export function plural(count: number, singular: string, many = `${singular}s`): string {
  return `${formatCount(count)} ${count === 1 ? singular : many}`
}

/** {empty: 1, unsupported_format: 2} → "2 unsupported_format, 1 empty": the most frequent first. */
export function formatCounts(counts: Readonly<Record<string, number | undefined>>): string {
  return Object.entries(counts)
    .filter((entry): entry is [string, number] => entry[1] !== undefined)
    .sort((a, b) => b[1] - a[1])
    .map(([name, count]) => `${formatCount(count)} ${name}`)
    .join(', ')
}

/**
 * A line in rows of at most `width` characters, broken between words. Rows after the first are indented, so that no
 * name can forge a line of ours. A word that is longer than a row is left to the terminal.
 */
export function wrapWords(line: string, width: number): string {
  if (line.length <= width) return line
  const rows: string[] = []
  let row = ''
  for (const word of line.match(/\s*\S+/g) ?? []) {
    if (row !== '' && row.length + word.length > width) {
      rows.push(row)
      row = `  ${word.trimStart()}`
    } else row += word
  }
  return [...rows, row].join('\n')
}

/** How far a run of units is that goes on: "no unit is committed yet", "1 of 3 units is committed". */
export function formatCommitted(done: number, total: number): string {
  if (done === 0) return 'no unit is committed yet'
  return `${formatCount(done)} of ${plural(total, 'unit')} ${done === 1 ? 'is' : 'are'} committed`
}

/** A word as a shell reads it back; plain ones stay as they are. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}
