/**
 * What each branch of joint pre-training brings: the recipe with all losses, without self-supervision, without the
 * contrastive loss, and with reconstruction alone, on the same images, judged at the same steps.
 *
 *   npx tsx test/trials/pretrain-branches.ts cifar/train cifar/test WORK [STEPS [EVERY]]
 *
 * Runs that were interrupted go on. Prints a table; `seconds` are those of gradients and optimiser, one thread.
 */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const [train, test, work, steps = '200', every = '100'] = process.argv.slice(2)
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

const number = (value: unknown): string => (typeof value === 'number' ? value.toFixed(2) : '')

console.log('| losses | step | seconds | zero-shot % | probe on latents % | probe CLS + patches % | PSNR dB |')
console.log('|---|---|---|---|---|---|---|')
for (const [name, settings] of Object.entries(VARIANTS)) {
  const out = path.join(work, name.replaceAll(' ', '-'))
  const run = spawnSync(
    process.execPath,
    [
      ...[path.join(root, 'bin', 'run.js'), 'pretrain', train, '--recipe', path.join(root, 'recipes/tiny-cpu.yaml')],
      ...['--out', out, '--steps', steps, '--threads', '1', '--workers', '1', '--keep', '1'],
      ...['--eval-every', every, '--eval-source', test, '--eval-train', train],
      ...settings.flatMap((setting) => ['--set', setting]),
    ],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  )
  if (run.status !== 0) throw new Error(`${name} ended with ${run.status}`)
  let seconds = 0
  for (const text of readFileSync(path.join(out, 'log.jsonl'), 'utf8').trim().split('\n')) {
    const line = JSON.parse(text) as Line
    seconds += line.seconds.gradients + line.seconds.optimizer
    if (line.protocol === undefined) continue
    const cells = ['zeroshot', 'probe_latents', 'probe_features', 'psnr'].map((key) => number(line[key]))
    console.log(`| ${name} | ${line.step} | ${seconds.toFixed(0)} | ${cells.join(' | ')} |`)
  }
}
