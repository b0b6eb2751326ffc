/**
 * kill -9 at random moments of a pre-training: every killed run is taken up again, and ends with the bytes of an
 * undisturbed one. The recipe is as small as it goes, so that there are many steps to be killed in.
 *
 *   npx tsx test/trials/pretrain-kills.ts IMAGES RECIPE WORK [KILLS [FLAGS …]]
 *
 * FLAGS go to every run, e.g. `--stage decoder --init nano --set config.image_size=32 --set config.batch=2`.
 */
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const [images, recipe, work, kills = '10', ...flags] = process.argv.slice(2)
if (!images || !recipe || !work) throw new Error('give IMAGES RECIPE WORK')

const STEPS = 12
const program = fileURLToPath(new URL('../../bin/run.js', import.meta.url))
const argsFor = (out: string, threads: number): string[] => [
  ...[program, 'pretrain', images, '--recipe', recipe, '--out', out, '--steps', String(STEPS), '--save-every', '4'],
  ...['--checkpoint-seconds', '0', '--threads', String(threads), ...flags],
]

function digest(out: string): string {
  const hash = createHash('sha256')
  for (const step of readdirSync(path.join(out, 'checkpoints')).sort())
    for (const name of readdirSync(path.join(out, 'checkpoints', step)).sort())
      hash.update(`${step}/${name}\n`).update(readFileSync(path.join(out, 'checkpoints', step, name)))
  return hash.digest('hex').slice(0, 16)
}

function finish(out: string, threads: number): void {
  const run = spawnSync(process.execPath, argsFor(out, threads), { encoding: 'utf8' })
  if (run.status !== 0) throw new Error(`${out} ended with ${run.status}: ${run.stderr}`)
}

const whole = path.join(work, 'whole')
finish(whole, 1)
const expected = digest(whole)
let equal = 0
for (let i = 0; i < Number(kills); i++) {
  const out = path.join(work, `killed-${i}`)
  const at = 1 + Math.floor(Math.random() * (STEPS - 1))
  const child = spawn(process.execPath, argsFor(out, 1 + (i % 2)), { stdio: 'ignore' })
  const lines = (): number => {
    const log = path.join(out, 'log.jsonl')
    return existsSync(log) ? readFileSync(log, 'utf8').split('\n').length - 1 : 0
  }
  while (child.exitCode === null && lines() < at) await sleep(2)
  child.kill('SIGKILL')
  await new Promise((resolve) => child.once('exit', resolve))
  const left = lines()
  finish(out, 1)
  const same = digest(out) === expected
  if (same) equal++
  console.log(`killed after ${left} of ${STEPS} steps: ${same ? 'the same bytes' : 'OTHER BYTES'}`)
  if (same) rmSync(out, { recursive: true, force: true })
}
console.log(`${equal} of ${kills} the same`)
if (equal < Number(kills)) process.exitCode = 1
