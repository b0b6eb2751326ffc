/**
 * Two builds of this program, whole commands in interleaved rounds: what a change of structure costs or saves.
 *
 *   npx tsx bench/builds.ts OLD/bin/run.js [NEW/bin/run.js] [--rounds 5] [--photos 160] [--only NAME,NAME]
 *
 * The photographs are made of the bundled images: crops of 500×375, saved as JPEG. Weights of Inception are hashed
 * numbers, the larger model's are random: neither changes the work. Printed is the median of old/new, round by round,
 * by the clock and by processor time, which other work on the machine disturbs less: more than 1 is faster than
 * before. Build both first (npm run build).
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { hashWeightsFolder } from '../test/support/hash-weights.js'
import { interleave, median, pairedRatio, printTable } from './support/measure.js'
import { makePhotographs } from './support/photographs.js'
import { randomCheckpoint } from './support/random-checkpoint.js'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '5' },
    photos: { type: 'string', default: '160' },
    only: { type: 'string' },
  },
})
const [old, other = fileURLToPath(new URL('../bin/run.js', import.meta.url))] = positionals
if (!old)
  throw new Error(
    'usage: npx tsx bench/builds.ts OLD/bin/run.js [NEW/bin/run.js] [--rounds N] [--photos N] [--only NAME,NAME]',
  )
const builds = { old: path.resolve(old), new: path.resolve(other) }
const folder = mkdtempSync(path.join(tmpdir(), 'vtp-bench-builds-'))
const at = (name: string): string => path.join(folder, name)

/** Preloaded into every command: its processor time, all threads together, goes to a file when it ends. */
const METER = `const { isMainThread } = require('node:worker_threads')
if (isMainThread) process.on('exit', () => {
  const { user, system } = process.cpuUsage()
  require('node:fs').writeFileSync(process.env.BENCH_CPU_FILE, String((user + system) / 1e6))
})`

const ratio = (before: number[], after: number[]): string =>
  `${pairedRatio(before, after).toFixed(2)}×  (${median(before).toFixed(2)} s, ${median(after).toFixed(2)} s)`

interface Cost {
  clock: number
  processor: number
}

/** Seconds of one command. Each build has a cache of its own: graphs are compiled before the rounds. */
function run(build: keyof typeof builds, args: string[]): Cost {
  const out = at('out')
  rmSync(out, { recursive: true, force: true })
  const started = performance.now()
  const { status, stderr } = spawnSync(
    process.execPath,
    ['--require', at('meter.cjs'), builds[build], ...args.map((arg) => (arg === 'OUT' ? out : arg))],
    { env: { ...process.env, VTP_CACHE: at(`cache ${build}`), BENCH_CPU_FILE: at('cpu') }, encoding: 'utf8' },
  )
  if (status !== 0) throw new Error(`${build} ${args.join(' ')}: exit ${status}\n${stderr}`)
  return { clock: (performance.now() - started) / 1000, processor: Number(readFileSync(at('cpu'), 'utf8')) }
}

try {
  writeFileSync(at('meter.cjs'), METER)
  mkdirSync(at('one'))
  await makePhotographs(at('one'), 1)
  await makePhotographs(path.join(at('photos'), 'a'), Number(values.photos) / 2)
  await makePhotographs(path.join(at('photos'), 'b'), Number(values.photos) / 2, 7)
  const few = at('few')
  await makePhotographs(few, 32, 3)
  const weights = hashWeightsFolder()
  const b = values.only && !values.only.includes('B') ? '' : await randomCheckpoint(at('b'), 'B')
  const photos = at('photos')
  const commands: Record<string, string[]> = {
    help: ['--help'],
    'one image': ['encode', at('one'), '--out', 'OUT'],
    encode: ['encode', photos, '--out', 'OUT'],
    'encode B': ['encode', few, '--model', b, '--out', 'OUT'],
    embed: ['embed', photos, '--out', 'OUT'],
    fid: ['fid', path.join(photos, 'a'), path.join(photos, 'b'), '--weights', weights],
    probe: ['eval-probe', '--train', photos, '--val', photos, '--epochs', '1', '--epoch-length', '4'],
    'eval-recon': ['eval-recon', photos, '--metrics', 'psnr,ssim'],
    decode: ['decode', path.join(at('one'), '00000.jpg'), '--out', 'OUT'],
  }
  const chosen = values.only?.split(',') ?? Object.keys(commands)
  const rows: [string, string][] = []
  for (const name of chosen) {
    const args = commands[name]
    if (!args) throw new Error(`--only takes ${Object.keys(commands).join(', ')}`)
    for (const build of ['old', 'new'] as const) run(build, args)
    const processor: Record<keyof typeof builds, number[]> = { old: [], new: [] }
    const timed = (build: keyof typeof builds) => async (): Promise<number> => {
      const cost = run(build, args)
      processor[build].push(cost.processor)
      return cost.clock
    }
    const times = await interleave(Number(values.rounds), {
      [`${name}, old`]: timed('old'),
      [`${name}, new`]: timed('new'),
    })
    const [before, after] = Object.values(times) as [number[], number[]]
    rows.push([name, `${ratio(before, after)}   processor: ${ratio(processor.old, processor.new)}`])
  }
  printTable('old / new, by the clock', rows)
} finally {
  rmSync(folder, { recursive: true, force: true })
}
