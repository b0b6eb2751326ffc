/** Results of several models on one set, as a table like the model card's. */
import { readFile } from 'node:fs/promises'
import { errorText, usageError } from '../errors.js'

/** What one model scored; absent where it was not measured. */
export interface ModelScores {
  model: string
  /** What tells models of one name apart; files of earlier versions lack it. */
  modelDigest?: string
  /** Of the encoder; files of earlier versions lack it. */
  precision?: string
  images: number
  listingDigest: string
  protocols: string[]
  rfid?: number
  psnr?: number | null
  ssim?: number
  lpips?: number
  top1?: number
  top5?: number
  probeLatents?: number
  probeFeatures?: number
}

const COLUMNS = [
  { key: 'rfid', title: 'rFID ↓', digits: 3 },
  { key: 'psnr', title: 'PSNR ↑', digits: 2 },
  { key: 'ssim', title: 'SSIM ↑', digits: 4 },
  { key: 'lpips', title: 'LPIPS ↓', digits: 4 },
  { key: 'top1', title: 'zero-shot top-1 ↑', digits: 2 },
  { key: 'top5', title: 'top-5 ↑', digits: 2 },
  { key: 'probeLatents', title: 'probe on latents ↑', digits: 2 },
  { key: 'probeFeatures', title: 'probe on CLS + patches ↑', digits: 2 },
] as const

/** Throws usage error `unequal_sets` unless all scores are of the same images. */
export function assertSameSet(rows: ModelScores[]): void {
  const [first, ...rest] = rows
  const other = rest.find((row) => row.listingDigest !== first!.listingDigest || row.images !== first!.images)
  if (!other) return
  throw usageError(
    'unequal_sets',
    `${first!.model} was evaluated on ${first!.images} images and ${other.model} on ${other.images}, or on other ones: they cannot be compared`,
    ['evaluate both on the same SOURCE with the same --limit'],
  )
}

/** A Markdown table, with the protocols below it. */
export function markdownTable(rows: ModelScores[]): string {
  const columns = COLUMNS.filter(({ key }) => rows.some((row) => row[key] !== undefined))
  const cell = (value: number | null | undefined, digits: number): string =>
    value === undefined ? '–' : value === null ? '∞' : value.toFixed(digits)
  const line = (cells: string[]): string => `| ${cells.join(' | ')} |`
  const protocols = [...new Set(rows.flatMap((row) => row.protocols))]
  return [
    line(['model', ...columns.map(({ title }) => title)]),
    line(['---', ...columns.map(() => '---:')]),
    ...rows.map((row) => line([row.model, ...columns.map(({ key, digits }) => cell(row[key], digits))])),
    '',
    ...protocols.map((protocol) => `- ${protocol}`),
  ].join('\n')
}

/**
 * Reads what `vtp eval-recon --out` or `vtp eval-zeroshot --out` wrote of one model, or `vtp eval --out` of
 * several, or that of its `--json`. Throws usage error `bad_results`.
 */
export async function readScores(file: string): Promise<ModelScores[]> {
  const suggestions = [
    'give a results.json of `vtp eval --out` or `vtp eval-recon --out`, or what `vtp eval-zeroshot --out` wrote',
  ]
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    throw usageError('bad_results', `${file} cannot be read: ${errorText(error)}`, suggestions)
  })
  try {
    const json = JSON.parse(text) as Evaluated | Evaluated[] | { models: Evaluated[] } | null
    const list = json !== null && 'models' in json ? json.models : json
    const rows = (Array.isArray(list) ? list : [list]) as (Partial<Evaluated> | null)[]
    if (rows.length === 0) throw new Error('it is an empty list')
    return rows.map((row) => {
      if (typeof row?.model !== 'string' || typeof row.listingDigest !== 'string' || typeof row.images !== 'number')
        throw new Error('it does not name a model, a listing and a number of images')
      return toScores(row as Evaluated)
    })
  } catch (error) {
    throw usageError('bad_results', `${file} does not hold results: ${errorText(error)}`, suggestions)
  }
}

/** One evaluation says how its numbers came to be, a row of a table how all of them did. */
type Evaluated = Omit<ModelScores, 'protocols'> & { protocol?: string; protocols?: string[] }

export function toScores(result: Evaluated): ModelScores {
  const { model, modelDigest, precision, images, listingDigest, protocol, protocols } = result
  const scores = Object.fromEntries(
    COLUMNS.map(({ key }) => [key, result[key]]).filter(([, value]) => value !== undefined),
  )
  const known = {
    ...(modelDigest === undefined ? {} : { modelDigest }),
    ...(precision === undefined ? {} : { precision }),
  }
  return {
    model,
    ...known,
    images,
    listingDigest,
    protocols: protocols ?? (protocol === undefined ? [] : [protocol]),
    ...scores,
  }
}

/**
 * Rows of one model at one precision become one row, where they measured different things; no number takes
 * the place of another. Rows of one name get beside it what tells them apart.
 */
export function mergeScores(rows: ModelScores[]): ModelScores[] {
  const merged: ModelScores[] = []
  for (const row of rows) {
    const there = merged.find((other) => isSameModel(other, row) && !contradicts(other, row))
    if (there) Object.assign(there, { ...row, model: there.model, protocols: [...there.protocols, ...row.protocols] })
    else merged.push({ ...row })
  }
  return merged.map((row) => ({ ...row, model: distinctName(row, merged) }))
}

function isSameModel(a: ModelScores, b: ModelScores): boolean {
  const sameWeights = a.modelDigest === b.modelDigest && (a.modelDigest !== undefined || a.model === b.model)
  return sameWeights && a.precision === b.precision
}

/** Whether both have a number for the same column, and not the same one. */
function contradicts(a: ModelScores, b: ModelScores): boolean {
  return COLUMNS.some(({ key }) => a[key] !== undefined && b[key] !== undefined && a[key] !== b[key])
}

function distinctName(row: ModelScores, all: ModelScores[]): string {
  const alike = all.filter((other) => other.model === row.model)
  const differ = (value: (one: ModelScores) => unknown): boolean => new Set(alike.map(value)).size > 1
  const marks: string[] = []
  if (differ((one) => one.modelDigest)) marks.push(row.modelDigest?.slice(0, 8) ?? 'unknown digest')
  if (differ((one) => one.precision)) marks.push(row.precision ?? 'unknown precision')
  const same = alike.filter((other) => isSameModel(other, row))
  if (same.length > 1) marks.push(`protocol ${same.indexOf(row) + 1}`)
  return marks.length > 0 ? `${row.model} (${marks.join(', ')})` : row.model
}
