// One table of what run.sh has left in a folder: node scripts/gpu/table.mjs FOLDER
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'

const folder = process.argv[2] ?? 'gpu-results'
const names = readdirSync(folder)
const text = (name) => (existsSync(path.join(folder, name)) ? readFileSync(path.join(folder, name), 'utf8') : '')
/** The objects of a file, one per line; a line that was cut off is left out. */
const objects = (name) =>
  text(name)
    .split('\n')
    .flatMap((line) => {
      try {
        return line.startsWith('{') ? [JSON.parse(line)] : []
      } catch {
        return []
      }
    })

const rows = []
for (const name of names.filter((one) => /^parity-.*\.txt$/.test(one))) {
  const found = objects(name)
  const worst = found.reduce((a, b) => (b.rel_l2 > (a?.rel_l2 ?? -1) ? b : a), undefined)
  const beyond = found.filter(({ within }) => !within)
  const cases = new Set(found.map((row) => row.case)).size
  const what = worst ? `worst ${worst.rel_l2.toExponential(1)} (${worst.case} ${worst.output})` : 'nothing measured'
  rows.push([name.slice(0, -4), `${cases} cases, ${found.length} outputs`, what, `${beyond.length} beyond tolerance`])
  for (const row of beyond.slice(0, 5)) rows.push(['', row.case, row.output, row.rel_l2.toExponential(1)])
}

/** Mean share of time that the GPU was busy, without the samples before its first work and after its last. */
function busyShare(name) {
  const samples = text(name)
    .split('\n')
    .flatMap((line) => (/^\d+,/.test(line) ? [Number(line.split(',')[0])] : []))
  const first = samples.findIndex((value) => value > 0)
  if (first < 0) return '–'
  const working = samples.slice(first, samples.findLastIndex((value) => value > 0) + 1)
  return `${(working.reduce((a, b) => a + b, 0) / working.length).toFixed(0)} % of ${working.length} samples`
}

const rate = ({ rate: value, problem }) => (value === undefined ? `failed: ${problem}` : `${value.toFixed(1)} images/s`)
for (const name of names.filter((one) => /^speed-vtp-.*\.txt$/.test(one))) {
  const shape = name.slice('speed-vtp-'.length, -4)
  const official = objects(`speed-official-${shape}.txt`)
  for (const row of objects(name)) {
    const same = official.find(({ batch }) => batch === row.batch)
    const ratio = row.rate && same?.rate ? `${(row.rate / same.rate).toFixed(2)} of official ${same.precision}` : ''
    rows.push([`VTP-${shape} batch ${row.batch}`, `${row.device} ${row.precision}`, rate(row), ratio])
  }
  for (const row of official)
    rows.push([`VTP-${shape} batch ${row.batch}`, `official ${row.precision}`, rate(row), row.device])
  if (names.includes(`speed-vtp-${shape}.busy`))
    rows.push([`VTP-${shape}`, 'GPU busy, all batches', busyShare(`speed-vtp-${shape}.busy`), 'opening included'])
}
for (const name of names.filter((one) => /^encode-.*\.txt$/.test(one))) {
  const [json] = text(name).trim().startsWith('{') ? [JSON.parse(text(name))] : []
  const busy = names.includes(name.replace('.txt', '.busy')) ? busyShare(name.replace('.txt', '.busy')) : '–'
  const speed = json ? `${json.images} images, ${json.imagesPerSecond.toFixed(1)} images/s` : 'not done'
  rows.push([`vtp ${name.slice(0, -4)}`, 'the whole command', speed, `GPU busy ${busy}`])
}

const widths = [0, 1, 2, 3].map((at) => Math.max(...rows.map((row) => String(row[at] ?? '').length)))
for (const row of rows)
  console.log(
    row
      .map((cell, at) => String(cell).padEnd(widths[at]))
      .join('  ')
      .trimEnd(),
  )
const log = text('log.txt').trim()
if (log) console.log(`\n${log}`)
