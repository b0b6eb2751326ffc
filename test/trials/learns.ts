/**
 * Does it learn? Latents of the bundled model over rendered pictures of ten classes, a diffusion transformer of two
 * million parameters on one thread: the curve, sheets of samples, and FIDs against held-out pictures after 400 steps
 * and at the end. The same command goes on after an interruption. Results are in docs/notebook/training.md.
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
  options: { steps: { type: 'string', default: '4600' }, weights: { type: 'string' } },
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
const model = ['--size', '128x6x4/1', '--batch-size', '32', '--lr', '1e-3', '--ema-decay', '0.995', '--warmup', '100']
const shown = ['--samples-every', '400', '--grid', '3x10', '--sampling-steps', '25', '--cfg-scale', '2']
const common = [at('latents'), ...model, '--max-grad-norm', '1', ...shown, '--threads', '1', '--out', at('training')]
/** Trains up to a step, and judges its samples. */
function train(steps: string): void {
  const judged = ['--eval-every', steps, '--reference', at('val'), '--eval-num', '500']
  const evaluation = values.weights ? [...judged, '--weights', values.weights] : []
  vtp('train', ...common, '--steps', steps, ...evaluation)
}

train('400')
train(values.steps)
const last = `${values.steps.padStart(7, '0')}.pt`
const sheet = ['--classes', '0-9', '--cfg-scale', '4', '--cfg-channels', 'all', '--steps', '50', '--seed', '3']
const from = ['--dit', at('training', 'checkpoints', last), '--heads', '4', '--stats', at('training')]
vtp('generate', ...from, ...sheet, '--grid', '4x10', '--out', at(`sheet-${values.steps}`))
