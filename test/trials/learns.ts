/**
 * Does it learn? Latents of the bundled model over rendered pictures of ten classes, a diffusion transformer of two
 * million parameters, a quarter of an hour: the curve, a sheet of samples and FIDs against held-out pictures.
 *
 *   npx tsx test/trials/learns.ts FOLDER [--steps N] [--weights DIR]
 */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { binPath } from '../support/cli.js'
import { renderPictures } from './pictures.js'

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { steps: { type: 'string', default: '3000' }, weights: { type: 'string' } },
})
const folder = path.resolve(positionals[0]!)
const at = (...parts: string[]): string => path.join(folder, ...parts)

function vtp(...args: string[]): void {
  const { status } = spawnSync(process.execPath, [binPath, ...args], { stdio: 'inherit' })
  if (status !== 0) process.exit(status ?? 1)
}

if (!existsSync(at('val'))) {
  await renderPictures(at('train'), 0, 400)
  await renderPictures(at('val'), 10_000, 100)
}
const size = ['--image-size', '128']
vtp('encode', at('train'), ...size, '--flip', '--format', 'safetensors', '--out', at('latents'))
const evaluation = values.weights
  ? [
      '--eval-every',
      String(Math.ceil(Number(values.steps) / 4)),
      '--reference',
      at('val'),
      '--eval-num',
      '500',
      '--weights',
      values.weights,
      '--sampling-steps',
      '25',
    ]
  : []
const model = ['--size', '128x6x4/1', '--batch-size', '32', '--lr', '1e-3', '--ema-decay', '0.995', '--warmup', '100']
const shown = ['--samples-every', String(Math.ceil(Number(values.steps) / 4)), '--grid', '3x10', '--cfg-scale', '1.5']
vtp(
  'train',
  at('latents'),
  ...model,
  '--steps',
  values.steps,
  '--max-grad-norm',
  '1',
  ...shown,
  ...evaluation,
  '--out',
  at('training'),
)
