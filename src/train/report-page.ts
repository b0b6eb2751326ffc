/**
 * The page of a training's report: cards with numbers, curves, pictures by step, evaluations, settings. One HTML file
 * that holds everything it shows. No script, no address.
 */

import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import sharp from 'sharp'
import { writeAtomically } from '../io/atomic.js'
import { storageError } from '../io/storage-error.js'
import { REPORT_STYLE } from '../metrics/report-style.js'
import { listPictures, REPORT } from './folder.js'
import { type CurveOptions, curve, type Point } from './report-curve.js'

/** Grids that are shown: the newest and some before, so that the page stays small. */
const GRIDS = 8
const GRID_WIDTH = 1024

export interface ReportCard {
  title: string
  value: string
  note: string
}

export interface ReportCurve extends CurveOptions {
  title: string
  note: string
  points: readonly Point[]
}

export interface ReportTable {
  head: readonly string[]
  rows: readonly (readonly string[])[]
}

export interface ReportPage {
  title: string
  subtitle: string
  cards: readonly ReportCard[]
  curves: readonly ReportCurve[]
  /** Pictures of `samples/`: what they show, and the text of one for those who cannot see it. */
  pictures: { dest: string; title: string; note: string; alt: string }
  evaluations?: ReportTable
  settings: readonly (readonly [string, string])[]
}

const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`)
export const countText = (value: number): string => value.toLocaleString('en-US')
export const shortText = (value: number): string =>
  value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e5) ? value.toExponential(2) : value.toPrecision(4)

/** What the records say of a number, by step. */
export function pointsOf<R extends { step: number }>(
  records: readonly R[],
  pick: (record: R) => number | undefined,
): Point[] {
  return records.flatMap((record) => {
    const y = pick(record)
    return y === undefined ? [] : [{ x: record.step, y }]
  })
}

/** Mean of the last records: a tenth, at most a hundred. */
export function tailMean<R>(records: readonly R[], pick: (record: R) => number): number {
  const tail = records.slice(-Math.max(1, Math.min(100, Math.ceil(records.length / 10))))
  return tail.reduce((sum, record) => sum + pick(record), 0) / tail.length
}

export async function renderReportPage(page: ReportPage): Promise<string> {
  const { title, subtitle, cards, pictures, evaluations, settings } = page
  const charts = page.curves.map(({ points, ...rest }) => curve(rest.title, rest.note, points, rest)).filter(Boolean)
  const grids = await pictureData(pictures.dest)
  const facts = settings.map(([name, value]) => `<div><dt>${name}</dt><dd>${escapeHtml(value)}</dd></div>`).join('')
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Training of ${escapeHtml(title)}</title>
<style>${CSS}</style></head>
<body><main>
<header><p class="kicker">Training report</p><h1>${escapeHtml(title)}</h1>
<p class="sub">${escapeHtml(subtitle)}</p></header>
<section class="numbers">${cards.map(cardHtml).join('')}</section>
<section><h2>Curves</h2>${charts.length > 0 ? `<div class="charts">${charts.join('')}</div>` : '<p class="note">No step is done yet.</p>'}</section>
${grids.length > 0 ? `<section><h2>${pictures.title}</h2><p class="note">${pictures.note}</p>${grids.map(({ step, data }) => `<figure class="card grid"><img src="${data}" alt="${pictures.alt} after step ${step}"><figcaption>step ${countText(step)}</figcaption></figure>`).join('')}</section>` : ''}
${evaluations && evaluations.rows.length > 0 ? `<section><h2>Evaluations</h2>${tableHtml(evaluations)}</section>` : ''}
<section><h2>Settings</h2><dl class="facts">${facts}</dl></section>
<footer>The numbers are those of log.jsonl. Faint lines are single steps, strong ones are smoothed.</footer>
</main></body></html>
`
}

/** Makes or replaces DEST's report. Throws VtpErrors for a full disk. */
export async function writeReport(dest: string, html: string): Promise<void> {
  const file = path.join(dest, REPORT)
  await writeAtomically(file, (tmp) => writeFile(tmp, html)).catch((error: unknown) => {
    throw storageError('Cannot write', file, error)
  })
}

const cardHtml = ({ title, value, note }: ReportCard): string =>
  `<div class="card"><h3>${title}</h3><p class="value">${escapeHtml(value)}</p><p class="note">${escapeHtml(note)}</p></div>`

function tableHtml({ head, rows }: ReportTable): string {
  const cells = (values: readonly string[], tag: string): string =>
    values.map((value) => `<${tag}>${escapeHtml(value)}</${tag}>`).join('')
  return `<div class="scroll"><table><thead><tr>${cells(head, 'th')}</tr></thead><tbody>${rows.map((row) => `<tr>${cells(row, 'td')}</tr>`).join('')}</tbody></table></div>`
}

/** The newest picture, the first, and some between them. */
async function pictureData(dest: string): Promise<{ step: number; data: string }[]> {
  const all = await listPictures(dest)
  const shown =
    all.length <= GRIDS
      ? all
      : Array.from({ length: GRIDS }, (_, i) => all[Math.round((i * (all.length - 1)) / (GRIDS - 1))]!)
  const found: { step: number; data: string }[] = []
  for (const { step, name } of shown.reverse()) {
    const webp = await sharp(path.join(dest, name))
      .resize({ width: GRID_WIDTH, withoutEnlargement: true })
      .webp({ quality: 82 })
      .toBuffer()
    found.push({ step, data: `data:image/webp;base64,${webp.toString('base64')}` })
  }
  return found
}

const CSS = `${REPORT_STYLE}
.sub{color:var(--soft);overflow-wrap:anywhere}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:12px}
figcaption{display:flex;justify-content:space-between;gap:10px;align-items:baseline;flex-wrap:wrap}
svg .axis{stroke:var(--line)}
svg .raw{fill:none;stroke:var(--accent);stroke-width:1;opacity:.35}
svg .line{fill:none;stroke:var(--accent);stroke-width:2}
svg circle{fill:var(--accent)}
svg text{fill:var(--soft);font-size:12px}
.grid{margin-top:12px;padding:10px}
.grid figcaption{margin-top:6px;color:var(--soft);font-size:13px}
img{display:block;max-width:100%;height:auto;border-radius:4px}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:6px 14px 6px 0;border-bottom:1px solid var(--line);vertical-align:top}
th{color:var(--soft);font-weight:600;font-size:13px}
td:last-child{min-width:260px;font-size:13px;color:var(--soft)}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,250px),1fr));gap:6px 24px;margin:0}
dt{color:var(--soft);overflow-wrap:anywhere}dd{margin:0;font-variant-numeric:tabular-nums;overflow-wrap:anywhere;text-align:right}
@media(max-width:480px){main{padding:20px 14px 36px}h1{font-size:24px}.numbers{grid-template-columns:1fr 1fr}.value{font-size:23px}}
`
