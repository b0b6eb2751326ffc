/** What the reports of both stages of pre-training show alike: curves by name, evaluations, settings. */
import {
  countText,
  pointsOf,
  type ReportCard,
  type ReportCurve,
  type ReportTable,
  shortText,
} from '../train/report-page.js'
import { JUDGED, type Judged } from './judge.js'

/** A line of a log, or an evaluation of what a run began from. */
export type ReportRecord = { step: number; protocol?: string } & Partial<Judged> & { [name: string]: unknown }

/** Name in the log, title, note. */
export type CurveName = readonly [string, string, string]

function numberOf(record: ReportRecord, name: string): number | undefined {
  const found = record[name]
  return typeof found === 'number' ? found : undefined
}

export function curvesOf(
  records: readonly ReportRecord[],
  names: readonly CurveName[],
  options: Pick<ReportCurve, 'smooth' | 'dots'>,
): ReportCurve[] {
  return names.map(([name, title, note]) => ({
    ...{ title, note, ...options },
    points: pointsOf(records, (record) => numberOf(record, name)),
  }))
}

const wasJudged = ({ protocol }: ReportRecord): boolean => protocol !== undefined

export const judgedCurves = (records: readonly ReportRecord[]): ReportCurve[] =>
  curvesOf(records, JUDGED, { dots: true })

/** The evaluations, a row each. */
export function judgedTable(records: readonly ReportRecord[]): ReportTable {
  const judged = records.filter(wasJudged)
  const seen = JUDGED.filter(([name]) => judged.some((record) => numberOf(record, name) !== undefined))
  const cell = (record: ReportRecord, name: string): string => {
    const found = numberOf(record, name)
    return found === undefined ? '' : shortText(found)
  }
  return {
    head: ['step', ...seen.map(([, title]) => title), 'protocol'],
    rows: judged.map((record) => [
      countText(record.step),
      ...seen.map(([name]) => cell(record, name)),
      record.protocol ?? '',
    ]),
  }
}

/** What the last evaluation found. */
export function judgedCards(records: readonly ReportRecord[]): ReportCard[] {
  const judged = records.findLast(wasJudged)
  if (!judged) return []
  const shown = JUDGED.filter(([name]) => typeof judged[name] === 'number').slice(0, 4)
  return shown.map(([name, title]) => ({
    ...{ title, value: shortText(judged[name] as number) },
    note: `step ${countText(judged.step)}`,
  }))
}

/** An object's values by their paths. */
export function flatSettings(value: unknown, name = ''): [string, string][] {
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return Object.entries(value).flatMap(([key, inner]) => flatSettings(inner, name ? `${name}.${key}` : key))
  return [[name, Array.isArray(value) ? value.join(', ') : String(value)]]
}
