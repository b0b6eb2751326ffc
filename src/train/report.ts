/** The report of a training: one HTML page that holds everything it shows, curves and grids. No script, no address. */
import { readdir } from 'node:fs/promises'
import path from 'node:path'
import sharp from 'sharp'
import { ditName } from '../model/lightningdit/config.js'
import { ditParameters } from '../model/lightningdit/tensors.js'
import type { LogRecord } from './log.js'
import type { TrainPlan } from './plan.js'
import { curve, type Point } from './report-curve.js'

export interface TrainReport {
  dest: string
  plan: TrainPlan
  records: readonly LogRecord[]
  steps: number
}

/** Grids that are shown: the newest and some before, so that the page stays small. */
const GRIDS = 8
const GRID_WIDTH = 1024

const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`)
const count = (value: number): string => value.toLocaleString('en-US')
const short = (value: number): string =>
  value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e5) ? value.toExponential(2) : value.toPrecision(4)

export async function renderTrainReport({ dest, plan, records, steps }: TrainReport): Promise<string> {
  const last = records.at(-1)
  const name = ditName(plan.model)
  const points = (pick: (record: LogRecord) => number | undefined): Point[] =>
    records.flatMap((record) => {
      const y = pick(record)
      return y === undefined ? [] : [{ x: record.step, y }]
    })
  const judged = records.filter((record) => record.fid !== undefined)
  const charts = [
    curve(
      'Loss',
      'squared error of the prediction, mean of a batch',
      points(({ mse }) => mse),
      { smooth: true },
    ),
    curve(
      'Cosine loss',
      '1 − cosine between prediction and target',
      points(({ cos }) => cos),
      { smooth: true },
    ),
    curve(
      'Norm of the gradients',
      'before clipping',
      points(({ gradNorm }) => gradNorm),
      { smooth: true },
    ),
    curve(
      'FID',
      'of samples of the averaged weights, lower is better',
      points(({ fid }) => fid),
      { dots: true },
    ),
    curve(
      'Learning rate',
      '',
      points(({ lr }) => lr),
      {},
    ),
  ].filter(Boolean)
  const grids = await sampleGrids(dest)
  const cards: [string, string, string][] = [
    ['Step', last ? count(last.step) : '0', `of ${count(steps)}`],
    ...(last
      ? ([['Loss', short(tailMean(records, ({ mse }) => mse)), 'mean of the last steps']] as [string, string, string][])
      : []),
    ...(last
      ? ([
          ['Images', count(last.step * plan.batch), last.epoch === undefined ? '' : `${last.epoch.toFixed(2)} epochs`],
        ] as [string, string, string][])
      : []),
    ...(judged.length > 0
      ? ([
          [
            'FID',
            short(judged.at(-1)!.fid!),
            `${count(judged.at(-1)!.fidImages ?? 0)} samples, step ${count(judged.at(-1)!.step)}`,
          ],
        ] as [string, string, string][])
      : []),
  ]
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Training of ${escapeHtml(name)}</title>
<style>${CSS}</style></head>
<body><main>
<header><p class="kicker">Training report</p><h1>${escapeHtml(name)}</h1>
<p class="sub">${count(ditParameters(plan.model))} parameters, on ${escapeHtml(plan.data.name)}${plan.data.rows === null ? '' : ` (${count(plan.data.rows)} rows)`}</p></header>
<section class="numbers">${cards.map(([title, value, note]) => `<div class="card"><h3>${title}</h3><p class="value">${escapeHtml(value)}</p><p class="note">${escapeHtml(note)}</p></div>`).join('')}</section>
<section><h2>Curves</h2>${charts.length > 0 ? `<div class="charts">${charts.join('')}</div>` : '<p class="note">No step is done yet.</p>'}</section>
${grids.length > 0 ? `<section><h2>Samples</h2><p class="note">Averaged weights, the same noise and classes at every step; the newest first.</p>${grids.map(({ step, data }) => `<figure class="card grid"><img src="${data}" alt="samples after step ${step}"><figcaption>step ${count(step)}</figcaption></figure>`).join('')}</section>` : ''}
${judged.length > 0 ? `<section><h2>Evaluations</h2><div class="scroll"><table><thead><tr><th>step</th><th>FID</th><th>samples</th><th>protocol</th></tr></thead><tbody>${judged.map((record) => `<tr><td>${count(record.step)}</td><td>${short(record.fid!)}</td><td>${count(record.fidImages ?? 0)}</td><td>${escapeHtml(record.protocol ?? '')}</td></tr>`).join('')}</tbody></table></div></section>` : ''}
<section><h2>Settings</h2><dl class="facts">${facts(plan)}</dl></section>
<footer>The numbers are those of log.jsonl. Faint lines are single steps, strong ones are smoothed.</footer>
</main></body></html>
`
}

function tailMean(records: readonly LogRecord[], pick: (record: LogRecord) => number): number {
  const tail = records.slice(-Math.max(1, Math.min(100, Math.ceil(records.length / 10))))
  return tail.reduce((sum, record) => sum + pick(record), 0) / tail.length
}

function facts(plan: TrainPlan): string {
  const { optimizer, schedule, transport, time, stats } = plan
  const rows: [string, string][] = [
    ['Batch', `${plan.batch} (${plan.microBatch} at once)`],
    ['Learning rate', `${schedule.lr} ${schedule.kind}${schedule.warmup > 0 ? `, warm-up ${schedule.warmup}` : ''}`],
    ['AdamW', `betas ${optimizer.beta1}, ${optimizer.beta2}; decay ${optimizer.weightDecay}`],
    ['Clipping', optimizer.maxGradNorm === undefined ? 'none' : String(optimizer.maxGradNorm)],
    ['Average', String(optimizer.emaDecay)],
    ['Transport', `${transport.path}, ${transport.prediction}`],
    ['Times', time.lognorm ? `logit-normal ${time.lognorm.mu}, ${time.lognorm.sigma}` : 'uniform'],
    ['Cosine loss', plan.cosineLoss ? 'yes' : 'no'],
    ['Labels dropped', String(plan.labelDropout)],
    ['Statistics', stats?.name ?? 'none'],
    ['Begun from', plan.init ? `${plan.init.name}, step ${plan.init.step}` : 'fresh weights'],
    ['Seed', String(plan.seed)],
    ['Plan', `${plan.hash.slice(0, 12)}…`],
    ['vtp', plan.vtp],
  ]
  return rows.map(([name, value]) => `<div><dt>${name}</dt><dd>${escapeHtml(value)}</dd></div>`).join('')
}

async function sampleGrids(dest: string): Promise<{ step: number; data: string }[]> {
  const folder = path.join(dest, 'samples')
  const names = (await readdir(folder).catch(() => [])).filter((name) => /^\d{7,}\.png$/.test(name)).sort()
  // The newest, the first, and some between them.
  const shown =
    names.length <= GRIDS
      ? names
      : Array.from({ length: GRIDS }, (_, i) => names[Math.round((i * (names.length - 1)) / (GRIDS - 1))]!)
  const grids: { step: number; data: string }[] = []
  for (const name of shown.reverse()) {
    const webp = await sharp(path.join(folder, name))
      .resize({ width: GRID_WIDTH, withoutEnlargement: true })
      .webp({ quality: 82 })
      .toBuffer()
    grids.push({ step: Number(name.slice(0, -4)), data: `data:image/webp;base64,${webp.toString('base64')}` })
  }
  return grids
}

const CSS = `
:root{color-scheme:light dark;--bg:#f6f7f9;--card:#fff;--ink:#16202c;--soft:#5b6877;--line:#dfe4ea;--accent:#2f6fdb}
@media(prefers-color-scheme:dark){:root{--bg:#10151c;--card:#18202a;--ink:#e6ebf1;--soft:#95a3b3;--line:#2a3541;--accent:#6ea2ff}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main{max-width:1180px;margin:0 auto;padding:32px 20px 48px}
h1{font-size:30px;line-height:1.2;margin:2px 0 4px;overflow-wrap:anywhere}
h2{font-size:19px;margin:36px 0 10px}
h3{font-size:13px;font-weight:600;margin:0;color:var(--soft)}
p{margin:0}
.kicker{color:var(--accent);font-weight:600;font-size:13px}
.sub{color:var(--soft);overflow-wrap:anywhere}
.note{color:var(--soft);font-size:13px}
.card{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:14px 16px;margin:0}
.numbers{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin-top:22px}
.value{font-size:30px;font-weight:650;line-height:1.25;font-variant-numeric:tabular-nums}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:12px}
figcaption{display:flex;justify-content:space-between;gap:10px;align-items:baseline;flex-wrap:wrap}
svg{width:100%;height:auto;display:block;margin:6px 0 2px}
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
.facts div{display:flex;justify-content:space-between;gap:12px;border-bottom:1px solid var(--line);padding:4px 0}
dt{color:var(--soft)}dd{margin:0;font-variant-numeric:tabular-nums;overflow-wrap:anywhere;text-align:right}
footer{margin-top:36px;color:var(--soft);font-size:13px}
@media(max-width:480px){main{padding:20px 14px 36px}h1{font-size:24px}.numbers{grid-template-columns:1fr 1fr}.value{font-size:23px}}
@media print{body{background:#fff}.card{break-inside:avoid}}
`
