/** Results of several models on one set, as a table like the model card's. */
import { readFile } from 'node:fs/promises'
import { errorText, usageError } from '../errors.js'

/** What one model scored; absent where it was not measured. */
export interface ModelScores {
  model: string
  /** What tells models of one name apart; files of earlier versions lack it. */
  modelDigest?: string
  images: number
  listingDigest: string
  protocols: string[]
  rfid?: number
  psnr?: number | null
  ssim?: number
  lpips?: number
  top1?: number
  top5?: number
}

const COLUMNS = [
  { key: 'rfid', title: 'rFID ↓', digits: 3 },
  { key: 'psnr', title: 'PSNR ↑', digits: 2 },
  { key: 'ssim', title: 'SSIM ↑', digits: 4 },
  { key: 'lpips', title: 'LPIPS ↓', digits: 4 },
  { key: 'top1', title: 'zero-shot top-1 ↑', digits: 2 },
  { key: 'top5', title: 'top-5 ↑', digits: 2 },
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

/** Reads what `vtp eval-recon --out` or `vtp eval-zeroshot --out` wrote. Throws usage error `bad_results`. */
export async function readScores(file: string): Promise<ModelScores> {
  try {
    const json = JSON.parse(await readFile(file, 'utf8')) as Partial<ModelScores> & { protocol?: string }
    if (typeof json.model !== 'string' || typeof json.listingDigest !== 'string' || typeof json.images !== 'number')
      throw new Error('it names no model, listing and number of images')
    return toScores(json as ModelScores & { protocol: string })
  } catch (error) {
    throw usageError('bad_results', `${file} holds no results: ${errorText(error)}`, [
      'give a results.json of `vtp eval-recon --out`',
    ])
  }
}

export function toScores(result: Omit<ModelScores, 'protocols'> & { protocol: string }): ModelScores {
  const { model, modelDigest, images, listingDigest, protocol } = result
  const scores = Object.fromEntries(
    COLUMNS.map(({ key }) => [key, result[key]]).filter(([, value]) => value !== undefined),
  )
  const digest = modelDigest === undefined ? {} : { modelDigest }
  return { model, ...digest, images, listingDigest, protocols: [protocol], ...scores }
}

/** Rows of one model on one set become one row; models of one name get the start of their digest beside it. */
export function mergeScores(rows: ModelScores[]): ModelScores[] {
  const merged = new Map<string, ModelScores>()
  for (const row of rows) {
    const key = row.modelDigest ?? `name ${row.model}`
    const there = merged.get(key)
    const protocols = [...(there?.protocols ?? []), ...row.protocols]
    merged.set(key, { ...there, ...row, model: there?.model ?? row.model, protocols })
  }
  const models = [...merged.values()]
  const named = (name: string): number => models.filter((row) => row.model === name).length
  const shared = new Set(models.map((row) => row.model).filter((name) => named(name) > 1))
  return models.map((row) =>
    shared.has(row.model)
      ? { ...row, model: `${row.model} (${row.modelDigest?.slice(0, 8) ?? 'unknown digest'})` }
      : row,
  )
}
