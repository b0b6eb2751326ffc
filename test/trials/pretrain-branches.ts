/**
 * What each branch of joint pre-training brings: the recipe with all losses, without self-supervision, without the
 * contrastive loss, and with reconstruction alone, on the same images. First at equal steps, and so at equal images;
 * then those that took less time once more, with as many steps as fit into that of all losses.
 *
 *   npx tsx test/trials/pretrain-branches.ts cifar/train cifar/test WORK [--probe cifar/some] [--steps 600]
 *
 * Runs that were interrupted go on. Prints a table; seconds are those of gradients and optimiser, one thread.
 */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { probe: { type: 'string' }, steps: { type: 'string', default: '600' } },
})
const [train, test, work] = positionals
if (!train || !test || !work) throw new Error('give TRAIN TEST WORK')

const root = fileURLToPath(new URL('../..', import.meta.url))
const VARIANTS: Record<string, string[]> = {
  joint: [],
  'no self-supervision': ['hyper_parameters.w_ssl=0'],
  'no contrastive loss': ['hyper_parameters.w_clip=0'],
  'reconstruction alone': ['hyper_parameters.w_ssl=0', 'hyper_parameters.w_clip=0'],
}

interface Line {
  step: number
  seconds: { gradients: number; optimizer: number }
  [name: string]: unknown
}

/** Trains, prints its line of the table, and returns its seconds. */
function run(name: string, steps: number): number {
  const out = path.join(work!, `${name.replaceAll(' ', '-')}-${steps}`)
  const { status } = spawnSync(
    process.execPath,
    [
      ...[path.join(root, 'bin', 'run.js'), 'pretrain', train!, '--recipe', path.join(root, 'recipes/tiny-cpu.yaml')],
      ...['--out', out, '--steps', String(steps), '--threads', '1', '--workers', '1', '--keep', '1'],
      ...['--eval-every', String(steps), '--eval-source', test!, '--eval-train', values.probe ?? train!],
      ...VARIANTS[name]!.flatMap((setting) => ['--set', setting]),
    ],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  )
  if (status !== 0) throw new Error(`${name} ended with ${status}`)
  const lines = readFileSync(path.join(out, 'log.jsonl'), 'utf8').trim().split('\n')
  const log = lines.map((text) => JSON.parse(text) as Line)
  const seconds = log.reduce((sum, line) => sum + line.seconds.gradients + line.seconds.optimizer, 0)
  const last = log.at(-1)!
  const cells = ['zeroshot', 'probe_latents', 'probe_features', 'psnr'].map((key) => {
    const value = last[key]
    return typeof value === 'number' ? value.toFixed(1) : '–'
  })
  console.log(`| ${name} | ${steps} | ${seconds.toFixed(0)} | ${cells.join(' | ')} |`)
  return seconds
}

console.log('| losses | steps | seconds | zero-shot % | probe on latents % | probe CLS + patches % | PSNR dB |')
console.log('|---|---|---|---|---|---|---|')
const steps = Number(values.steps)
const taken = Object.keys(VARIANTS).map((name) => [name, run(name, steps)] as const)
const longest = Math.max(...taken.map(([, seconds]) => seconds))
for (const [name, seconds] of taken) {
  const fitting = Math.round((steps * longest) / seconds / 10) * 10
  if (fitting > 1.1 * steps) run(name, fitting)
}
