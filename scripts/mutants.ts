/**
 * Encodes damaged images by the thousand with the built program and prints what became of them. Exits with 1
 * when the process died, an image was lost or doubled, or a decoder crashed or hung.
 *
 *   npm run build && npx tsx scripts/mutants.ts [--count 10000] [--seed 1]
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { writeMutants } from '../test/support/mutants.js'
import { readRejects, readRows } from '../test/support/parts.js'

const { values } = parseArgs({
  options: { count: { type: 'string', default: '10000' }, seed: { type: 'string', default: '1' } },
})
const scratch = mkdtempSync(path.join(tmpdir(), 'vtp-mutants-'))
const source = path.join(scratch, 'in')
const out = path.join(scratch, 'out')
const bin = fileURLToPath(new URL('../bin/run.js', import.meta.url))

const names = await writeMutants(source, Number(values.count), Number(values.seed))
const args = [bin, 'encode', source, '--out', out, '--image-size', '64', '--max-bad', '100%']
const began = performance.now()
const run = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 3_600_000 })
const seconds = (performance.now() - began) / 1000
if (run.status !== 0) {
  console.error(run.stderr)
  console.error(`the program ended with ${run.signal ?? run.status}; its files are in ${pathToFileURL(scratch)}`)
  process.exit(1)
}

const rows = (await readRows(out)).map((row) => row.key)
const rejects = readRejects(out)
const counts = new Map<string, number>()
const count = (what: string): void => void counts.set(what, (counts.get(what) ?? 0) + 1)
for (const key of rows) count(`${path.extname(key).slice(1)} row`)
for (const { key, code } of rejects) count(`${path.extname(key).slice(1)} ${code}`)
console.log(`${names.length} damaged images, seed ${values.seed}: ${rows.length} rows, ${rejects.length} rejects`)
for (const [what, number] of [...counts].sort()) console.log(`  ${what.padEnd(24)} ${number}`)
console.log(`  ${seconds.toFixed(0)} s in one process`)

const seen = [...rows, ...rejects.map((reject) => reject.key)].sort()
const bad = rejects.filter(({ code }) => code === 'crashed_decoder' || code === 'decode_timeout')
const whole = seen.length === names.length && seen.every((key, i) => key === names[i])
console.log(whole ? 'each is one row or one reject' : 'IMAGES WERE LOST OR DOUBLED')
for (const { key, code, message } of bad) console.log(`${code}: ${key}: ${message}`)
rmSync(scratch, { recursive: true, force: true })
process.exit(whole && bad.length === 0 ? 0 : 1)
