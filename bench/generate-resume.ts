/**
 * Does `vtp generate` leave the same images whatever happens? One undisturbed run, one that is killed
 * (SIGKILL) at random moments and run again until it is done, and one on several workers at once, which are
 * killed and restarted too; then every file is compared byte for byte.
 *
 *   npx tsx bench/generate-resume.ts [--size LightningDiT-XL/1] [--num 64] [--steps 2] [--kills 3] [--workers 3]
 *
 * The checkpoint has the given shape and random weights; the bundled tokenizer decodes. Build first.
 */
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { encodeLatentsStats } from '../src/io/torch-stats.js'
import { DIT_SIZES } from '../src/model/lightningdit/config.js'
import { randomDit, vtpStyle } from './support/random-dit.js'

const { values } = parseArgs({
  options: {
    size: { type: 'string', default: 'LightningDiT-XL/1' },
    num: { type: 'string', default: '64' },
    steps: { type: 'string', default: '2' },
    kills: { type: 'string', default: '3' },
    workers: { type: 'string', default: '3' },
    root: { type: 'string', default: path.join(tmpdir(), 'vtp-generate-resume') },
  },
})
const bin = fileURLToPath(new URL('../bin/run.js', import.meta.url))
const { root } = values
if (!(values.size in DIT_SIZES)) throw new Error(`--size is one of ${Object.keys(DIT_SIZES).join(', ')}`)
const dit = await randomDit(path.join(root, 'models'), values.size, vtpStyle(values.size))
const stats = path.join(root, 'latents_stats.pt')
mkdirSync(root, { recursive: true })
writeFileSync(stats, encodeLatentsStats(new Float32Array(64).fill(0.1), new Float32Array(64).fill(1.5)))
const workers = Number(values.workers)

/** Runs to the end (true), or is killed after `killMs` (false). */
function run(out: string, extra: string[] = [], killMs?: number, num = values.num): Promise<boolean> {
  const args = [bin, 'generate', '--dit', dit, '--stats', stats, '--num', num, '--steps', values.steps]
  args.push('--timestep-shift', '0.3', '--shard-rows', '8', '--out', path.join(root, out), ...extra)
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] })
    let text = ''
    child.stderr.on('data', (data) => {
      text += data
    })
    const timer = killMs === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), killMs)
    child.on('close', (code, signal) => {
      clearTimeout(timer)
      if (signal === 'SIGKILL' || code === 0) resolve(code === 0)
      else reject(new Error(text))
    })
  })
}

/** Digest of every file that a user opens. */
function hashes(out: string): string {
  const names = readdirSync(path.join(root, out)).filter((name) => /\.(png|json)$/.test(name))
  return names
    .sort()
    .map((name) => {
      const bytes = readFileSync(path.join(root, out, name))
      return `${name} ${createHash('sha256').update(bytes).digest('hex')}`
    })
    .join('\n')
}

const images = (out: string): number => readdirSync(path.join(root, out)).filter((name) => name.endsWith('.png')).length

for (const name of ['whole', 'killed', 'shared']) rmSync(path.join(root, name), { recursive: true, force: true })
await run('warm-up', ['--overwrite'], undefined, '1')
const began = performance.now()
await run('whole')
const seconds = (performance.now() - began) / 1000
console.log(`undisturbed: ${images('whole')} images in ${seconds.toFixed(0)} s`)

let killed = 0
for (let kill = 0; kill < Number(values.kills); kill++) {
  const done = await run('killed', [], seconds * 1000 * (0.15 + 0.35 * Math.random()))
  if (done) break
  killed++
  console.log(`killed with ${images('killed')} images there`)
}
await run('killed')

const worker = async (index: number): Promise<void> => {
  const place = ['--worker-index', String(index), '--worker-count', String(workers)]
  if (index > 0) {
    await sleep(index * 1000)
    if (!(await run('shared', place, seconds * 1000 * (0.3 + 0.4 * Math.random())))) killed++
  }
  await run('shared', place)
}
await Promise.all(Array.from({ length: workers }, (_, index) => worker(index)))

const whole = hashes('whole')
const same = (out: string): boolean => hashes(out) === whole
console.log(
  `${killed} kills; resumed run identical: ${same('killed')}; ${workers} workers identical: ${same('shared')}`,
)
if (!same('killed') || !same('shared')) process.exitCode = 1
