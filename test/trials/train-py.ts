/**
 * There and back: 3 steps here, `vtp train --export`, 3 steps of LightningDiT's own train.py in two processes, and 3
 * steps here from its checkpoint. Works without a GPU (cpu_shim); results are in docs/notebook/training.md.
 *
 *   LIGHTNINGDIT=CLONE PATH=VENV/bin:$PATH npx tsx test/trials/train-py.ts FOLDER
 *
 * The environment needs torch, accelerate, tensorboard, fairscale, timm, einops, torchdiffeq, scipy and safetensors.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { binPath } from '../support/cli.js'
import { renderPictures } from './pictures.js'

const [folder] = process.argv.slice(2).map((name) => path.resolve(name))
const at = (...parts: string[]): string => path.join(folder!, ...parts)

function run(command: string, args: string[], env: Record<string, string> = {}): void {
  const { status } = spawnSync(command, args, { stdio: 'inherit', env: { ...process.env, ...env } })
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${status}`)
}
const vtp = (...args: string[]): void => run(process.execPath, [binPath, ...args])
const steps = (name: string): number[] =>
  readFileSync(at(name, 'log.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { step: number }).step)

await renderPictures(at('pictures'), 0, 4)
vtp('encode', at('pictures'), '--image-size', '128', '--flip', '--format', 'safetensors', '--out', at('latents'))
const model = ['--size', '64x2x2/1', '--batch-size', '8', '--max-grad-norm', '1']
vtp('train', at('latents'), ...model, '--steps', '3', '--out', at('here'))
vtp('train', at('latents'), ...model, '--steps', '6', '--save-every', '3', '--out', at('here'), '--export', at('there'))

const shim = fileURLToPath(new URL('./cpu_shim', import.meta.url))
const cpu = { ACCELERATE_USE_CPU: 'true', TORCHDYNAMO_DISABLE: '1', OMP_NUM_THREADS: '1', PYTHONPATH: shim }
run(at('there', 'launch.sh'), [], { GPUS: '2', PRECISION: 'no', ...cpu })

const checkpoint = at('there', 'runs', 'vtp', 'checkpoints', '0000006.pt')
vtp('train', at('latents'), ...model, '--init', checkpoint, '--steps', '9', '--out', at('back'))
vtp(
  'generate',
  '--dit',
  at('back', 'checkpoints', '0000009.pt'),
  '--heads',
  '2',
  '--stats',
  at('back'),
  '--num',
  '4',
  '--out',
  at('images'),
)

const log = readFileSync(at('there', 'runs', 'vtp', 'log.txt'), 'utf8')
assert.match(log, /Resuming training from checkpoint: .*0000003\.pt/)
assert.match(log, /step=0000006\) Train Loss/)
assert.deepEqual(steps('here'), [1, 2, 3])
assert.deepEqual(steps('back'), [7, 8, 9])
console.log('There and back: nine steps, three of them by train.py.')
