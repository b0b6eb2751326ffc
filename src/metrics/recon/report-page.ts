/** The report's HTML and CSS; no script, no address outside the page. */

import { HEAT_GRADIENT } from '../../image/heat-map.js'
import { REPORT_STYLE } from '../report-style.js'
import type { Distribution, Histogram, Score, ScoredEntry } from './histogram.js'
import type { ReconResult } from './request.js'

/** One image of the report; pictures are data: addresses. */
export interface Shown {
  key: string
  scores: ScoredEntry['scores']
  reference: string
  reconstruction: string
  heat?: string
}

export interface ReportContent {
  result: ReconResult
  distribution: Distribution | undefined
  pictures: { worst: Shown[]; best: Shown[]; sample: Shown[] } | undefined
  heatFull: number
  seed: number
}

const NAMES: Record<Score, { title: string; unit: string; digits: number; better: string }> = {
  psnr: { title: 'PSNR', unit: 'dB', digits: 2, better: 'higher is better' },
  ssim: { title: 'SSIM', unit: '', digits: 4, better: 'higher is better' },
  lpips: { title: 'LPIPS', unit: '', digits: 4, better: 'lower is better' },
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`)
}

const count = (value: number): string => value.toLocaleString('en-US')
const images = (value: number): string => `${count(value)} image${value === 1 ? '' : 's'}`

export function renderReport({ result, distribution, pictures, heatFull, seed }: ReportContent): string {
  const ranked = distribution ? NAMES[distribution.rankedBy].title : ''
  const sections = pictures
    ? [
        gallery('Worst reconstructions', `Ranked by ${ranked}.`, pictures.worst),
        gallery('Best reconstructions', `Ranked by ${ranked}.`, pictures.best),
        `<section><h2>A random sample</h2><p class="note">${images(pictures.sample.length)} drawn with seed ${seed}; original above, reconstruction below.</p>
<div class="sheet">${pictures.sample.map(pair).join('')}</div></section>`,
      ]
    : []
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Reconstruction of ${escapeHtml(result.model)}</title>
<style>${CSS}</style></head>
<body><main>
<header><p class="kicker">Reconstruction report</p><h1>${escapeHtml(result.model)}</h1>
<p class="sub">${images(result.images)} of <span class="path">${escapeHtml(result.source)}</span></p></header>
<section class="numbers">${numbers(result)}</section>
<section><h2>Protocol</h2><ul class="protocol">${result.protocol
    .split('; ')
    .map((part) => `<li>${escapeHtml(part)}</li>`)
    .join('')}</ul>
<dl class="facts">${facts(result)}</dl></section>
${distribution ? `<section><h2>Per image</h2><div class="charts">${charts(distribution)}</div></section>` : ''}
${pictures ? `<p class="legend">In the error maps: mean absolute difference <span class="bar"></span> 0 to ${heatFull} of 255 levels and above</p>` : ''}
${sections.join('\n')}
<footer>Pictures are the 8-bit images as the protocol saves them, embedded without loss.</footer>
</main></body></html>
`
}

function numbers(result: ReconResult): string {
  const cards: string[] = []
  const add = (title: string, value: string, unit: string, note: string): void =>
    void cards.push(
      `<div class="card"><h3>${title}</h3><p class="value">${value}<small>${unit}</small></p><p class="note">${note}</p></div>`,
    )
  if (result.rfid !== undefined) add('rFID', result.rfid.toFixed(result.rfid < 10 ? 3 : 2), '', 'lower is better')
  if (result.psnr !== undefined) {
    const identical = result.identical ? `; ${count(result.identical)} identical` : ''
    add('PSNR', result.psnr === null ? '∞' : result.psnr.toFixed(2), ' dB', `higher is better${identical}`)
  }
  if (result.ssim !== undefined) add('SSIM', result.ssim.toFixed(4), '', 'higher is better')
  if (result.lpips !== undefined) add('LPIPS', result.lpips.toFixed(4), '', 'lower is better')
  return cards.join('')
}

function facts(result: ReconResult): string {
  const rows: [string, string][] = [
    ['Images', count(result.images)],
    ['Left out', `${count(result.rejects)} unreadable`],
    ['Weights', `sha256 ${result.modelDigest.slice(0, 12)}…`],
    ['Listing', `sha256 ${result.listingDigest.slice(0, 12)}…`],
  ]
  if (result.ssimPerImage !== undefined) rows.push(['SSIM, plain mean', result.ssimPerImage.toFixed(6)])
  if (result.lpipsPerImage !== undefined) rows.push(['LPIPS, plain mean', result.lpipsPerImage.toFixed(6)])
  if (result.psnrFinite !== undefined) rows.push(['PSNR of the others', `${result.psnrFinite.toFixed(4)} dB`])
  return rows.map(([name, value]) => `<div><dt>${name}</dt><dd>${escapeHtml(value)}</dd></div>`).join('')
}

function charts({ histograms }: Distribution): string {
  return Object.entries(histograms)
    .map(([name, histogram]) => chart(name as Score, histogram))
    .join('')
}

const CHART = { width: 400, height: 150, base: 122 }

function chart(name: Score, { low, high, bins, mean, median }: Histogram): string {
  const { title, unit, digits, better } = NAMES[name]
  const most = Math.max(...bins)
  const step = CHART.width / bins.length
  const bars = bins
    .map((value, i) => {
      const height = most > 0 ? (value / most) * (CHART.base - 14) : 0
      const from = low + ((high - low) * i) / bins.length
      return `<rect x="${(i * step + 0.5).toFixed(1)}" y="${(CHART.base - height).toFixed(1)}" width="${(step - 1).toFixed(1)}" height="${height.toFixed(1)}"><title>from ${from.toFixed(digits)}: ${images(value)}</title></rect>`
    })
    .join('')
  const x = high > low ? ((mean - low) / (high - low)) * CHART.width : step / 2
  const label = (at: number, anchor: string, value: number): string =>
    `<text x="${at}" y="${CHART.base + 18}" text-anchor="${anchor}">${value.toFixed(digits)}</text>`
  return `<figure class="card"><figcaption><h3>${title}</h3><span class="note">${better}</span></figcaption>
<svg viewBox="0 0 ${CHART.width} ${CHART.height}" role="img" aria-label="Histogram of ${title} per image">
<line class="axis" x1="0" x2="${CHART.width}" y1="${CHART.base}" y2="${CHART.base}"/>${bars}
<line class="mean" x1="${x.toFixed(1)}" x2="${x.toFixed(1)}" y1="6" y2="${CHART.base}"/>
${label(0, 'start', low)}${label(CHART.width, 'end', high)}</svg>
<p class="note">mean ${mean.toFixed(digits)}${unit && ` ${unit}`} (line), median ${median.toFixed(digits)}${unit && ` ${unit}`}</p></figure>`
}

function caption({ key, scores }: Shown): string {
  const values = (Object.entries(scores) as [Score, number][]).map(
    ([name, value]) => `${NAMES[name].title} ${value.toFixed(NAMES[name].digits)}`,
  )
  return `<span class="key" title="${escapeHtml(key)}">${escapeHtml(key)}</span><span class="scores">${values.join(' · ')}</span>`
}

function gallery(title: string, note: string, rows: Shown[]): string {
  const figure = (shown: Shown): string => {
    const picture = (src: string, name: string): string =>
      `<div><img src="${src}" alt="${name} of ${escapeHtml(shown.key)}"><span>${name}</span></div>`
    return `<figure class="triple card"><div class="row">${picture(shown.reference, 'original')}${picture(shown.reconstruction, 'reconstruction')}${
      shown.heat ? picture(shown.heat, 'error') : ''
    }</div><figcaption>${caption(shown)}</figcaption></figure>`
  }
  return `<section><h2>${title}</h2><p class="note">${note}</p><div class="gallery">${rows.map(figure).join('')}</div></section>`
}

function pair(shown: Shown): string {
  const key = escapeHtml(shown.key)
  return `<figure title="${key}"><img src="${shown.reference}" alt="original of ${key}"><img src="${shown.reconstruction}" alt="reconstruction of ${key}"></figure>`
}

const CSS = `${REPORT_STYLE}
:root{--mean:#d9482b}
@media(prefers-color-scheme:dark){:root{--mean:#ff7a5c}}
.sub{color:var(--soft)}
.path{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:13px;overflow-wrap:anywhere}
.value small{font-size:15px;font-weight:500;color:var(--soft)}
.protocol{margin:0;padding-left:20px}
.protocol li{overflow-wrap:anywhere;margin:2px 0}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(210px,1fr));gap:6px 24px;margin:14px 0 0}
dt{color:var(--soft)}dd{margin:0;font-variant-numeric:tabular-nums;overflow-wrap:anywhere;text-align:right}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(280px,1fr));gap:12px}
figcaption{display:flex;justify-content:space-between;gap:10px;align-items:baseline}
svg rect{fill:var(--accent)}
svg .axis{stroke:var(--line)}svg .mean{stroke:var(--mean);stroke-width:2}
svg text{fill:var(--soft);font-size:13px}
.legend{margin-top:34px;color:var(--soft);font-size:13px}
.bar{display:inline-block;width:120px;height:10px;border-radius:3px;background:${HEAT_GRADIENT};vertical-align:-1px;margin:0 6px}
.gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,520px),1fr));gap:14px;margin-top:8px}
.triple{padding:10px}
.row{display:grid;grid-auto-flow:column;grid-auto-columns:1fr;gap:6px}
.row span{display:block;text-align:center;color:var(--soft);font-size:12px}
img{display:block;width:100%;height:auto;border-radius:4px;background:var(--line)}
.triple figcaption{margin-top:6px;font-size:13px;flex-wrap:wrap}
.key{flex:1 1 120px;min-width:0;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.scores{color:var(--soft);font-variant-numeric:tabular-nums;white-space:nowrap}
.sheet{display:grid;grid-template-columns:repeat(auto-fill,minmax(120px,1fr));gap:12px;margin-top:8px}
.sheet figure{margin:0;display:grid;gap:3px}
@media(max-width:480px){main{padding:20px 14px 36px}h1{font-size:24px}.numbers{grid-template-columns:1fr 1fr}.value{font-size:25px}.sheet{grid-template-columns:repeat(3,1fr);gap:8px}.scores{white-space:normal}.row{gap:4px}}
`
