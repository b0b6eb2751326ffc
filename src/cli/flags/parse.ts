/** Flag values with a syntax of their own. Every parser throws a usage error that shows a right value. */
import { usageError } from '../../errors.js'
import { OUTPUTS, type Output } from '../../pipeline/outputs.js'
import { didYouMean } from './suggest.js'

/** "b,a" → the names among `choices`, each once and in the order of the choices. */
export function parseNames<T extends string>(flag: string, text: string, choices: readonly T[], what = 'name'): T[] {
  const names = text
    .split(',')
    .map((name) => name.trim())
    .filter(Boolean)
  const code = `unknown_${what.replaceAll(' ', '_')}`
  for (const name of names) {
    if (choices.includes(name as T)) continue
    const near = didYouMean(name, choices)
    throw usageError(code, `${flag}: unknown ${what} "${name}"`, [
      `${near ? `did you mean ${near}? ` : ''}choose among ${choices.join(', ')}`,
    ])
  }
  if (names.length === 0) throw usageError(code, `${flag} is empty`, [`choose among ${choices.join(', ')}`])
  return choices.filter((name) => names.includes(name))
}

/** "latents,clip" → outputs, each once. */
export function parseOutputs(flag: string, text: string): Output[] {
  return parseNames(flag, text, OUTPUTS, 'output')
}

/** "4" → the last four blocks; "2,5" (or "5,") → those blocks. */
export function parseLayers(flag: string, text: string): number[] | { last: number } {
  if (/^\d+$/.test(text)) return { last: Number(text) }
  if (/^\d+(,\d+)*,?$/.test(text)) return text.split(',').filter(Boolean).map(Number)
  throw usageError('bad_layers', `${flag} ${text} is neither a number nor a list of numbers`, [
    '--layers 4 takes the last four blocks, --layers 2,5 takes blocks 2 and 5 (0-based)',
  ])
}

/** "256" or "256x192" (height × width). */
export function parseImageSize(flag: string, text: string): { height: number; width: number } {
  const match = /^(\d{1,5})(?:[x×](\d{1,5}))?$/i.exec(text)
  const height = Number(match?.[1])
  const width = Number(match?.[2] ?? match?.[1])
  if (!match || height < 1 || width < 1) {
    throw usageError('bad_image_size', `${flag} ${text} is not a size`, [
      'write one number, e.g. 256, or HEIGHTxWIDTH, e.g. 256x192',
    ])
  }
  return { height, width }
}

/** "0.01" or "1%" → 0.01. */
export function parseFraction(flag: string, text: string): number {
  const match = /^(\d+(?:\.\d+)?)(%?)$/.exec(text.trim())
  const value = match ? Number(match[1]) / (match[2] ? 100 : 1) : Number.NaN
  if (!(value >= 0 && value <= 1)) {
    throw usageError('bad_fraction', `${flag} ${text} is not a share between 0 and 1`, ['write e.g. 0.01 or 1%'])
  }
  return value
}

/** "auto" → undefined, else a positive integer. */
export function parseCount(flag: string, text: string): number | undefined {
  if (text === 'auto') return undefined
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < 1) {
    throw usageError('bad_count', `${flag} ${text} is not a positive whole number`, ['write e.g. 16, or auto'])
  }
  return value
}

/** "24h", "30m", "90s" or "7d" → milliseconds. */
export function parseAge(flag: string, text: string): number {
  const match = /^(\d+(?:\.\d+)?)([smhd])$/.exec(text.trim())
  if (!match) throw usageError('bad_age', `${flag} ${text} is not an age`, ['write e.g. 90s, 30m, 24h or 7d'])
  return Number(match[1]) * { s: 1e3, m: 60e3, h: 3600e3, d: 86400e3 }[match[2] as 's' | 'm' | 'h' | 'd']
}

/** "17,40-59" → unit numbers. */
export function parseUnits(flag: string, text: string): number[] {
  const units = new Set<number>()
  for (const part of text.split(',')) {
    const match = /^(\d+)(?:-(\d+))?$/.exec(part.trim())
    const first = Number(match?.[1])
    const last = Number(match?.[2] ?? match?.[1])
    if (!match || last < first || last - first > 1e7) {
      throw usageError('bad_units', `${flag} ${text}: "${part}" is not a unit or a range of units`, [
        'write e.g. 17,40-59',
      ])
    }
    for (let unit = first; unit <= last; unit++) units.add(unit)
  }
  return [...units].sort((a, b) => a - b)
}

/** "0.95" → a cosine similarity, −1 to 1. */
export function parseSimilarity(flag: string, text: string): number {
  const value = Number(text)
  if (text.trim() === '' || !(value >= -1 && value <= 1)) {
    throw usageError('bad_similarity', `${flag} ${text} is not a similarity`, ['write a number up to 1, e.g. 0.95'])
  }
  return value
}

/** "4x8" → rows and columns. */
export function parseGrid(flag: string, text: string): { rows: number; columns: number } {
  const match = /^(\d{1,3})[x×](\d{1,3})$/i.exec(text)
  const rows = Number(match?.[1])
  const columns = Number(match?.[2])
  if (match && rows > 0 && columns > 0) return { rows, columns }
  throw usageError('bad_grid', `${flag} ${text} is not a grid`, ['write ROWSxCOLUMNS, e.g. 4x8'])
}

/** A number that may be written as 1e-6. */
export function parseNumber(flag: string, text: string): number {
  const value = Number(text)
  if (text.trim() === '' || !Number.isFinite(value)) throw usageError('bad_number', `${flag} ${text} is not a number`)
  return value
}

/** "dynamic", or a number. */
export function parseLossScale(flag: string, text: string): 'dynamic' | number {
  return text === 'dynamic' ? text : parseNumber(flag, text)
}

/** "3" or "all". */
export function parseChannels(flag: string, text: string): number | 'all' {
  if (text === 'all') return text
  const value = Number(text)
  if (Number.isSafeInteger(value) && value > 0) return value
  throw usageError('bad_count', `${flag} ${text} is neither a number of channels nor all`)
}
