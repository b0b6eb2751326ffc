/** The commands that test/trials/kills.ts kills, over inputs small enough that one run takes seconds. */
import { cpSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { randomDit, vtpStyle } from '../../../bench/support/random-dit.js'
import { encodeLatentsStats } from '../../../src/io/torch-stats.js'
import { repoRoot, runCli } from '../../support/cli.js'
import { hashWeightsFolder } from '../../support/hash-weights.js'
import { COMMIT_A, type HubServer, serveHub } from '../../support/hub-server.js'
import { writePictures } from '../../support/images.js'

export interface KillJob {
  /** Without `--out`, which the runner gives where the command has one. */
  args: string[]
  /** What lies in the folder before the first run. */
  begin?(out: string): void
  /** Where the command has no `--out`: how it learns of its folder. */
  env?(out: string): Record<string, string>
}

async function made(...args: string[]): Promise<void> {
  const run = await runCli(args)
  if (run.code !== 0) throw new Error(`vtp ${args.join(' ')}: ${run.stderr}`)
}

/** Makes the inputs in `dir`; `hub` stands for the hub of `vtp model pull`. */
export async function makeJobs(dir: string, hub: HubServer): Promise<Record<string, KillJob>> {
  const at = (...names: string[]): string => path.join(dir, ...names)
  await writePictures(at('photos'), 16)
  await writePictures(at('more photos'), 8)
  const tiny = ['--image-size', '64', '--shard-rows', '4', '--batch-size', '2']
  await made('embed', at('photos'), '--out', at('embeddings'), ...tiny)
  await made('embed', at('more photos'), '--out', at('more embeddings'), ...tiny)
  await made('index', at('embeddings'), '--out', at('photos.index'), '--workers', '1')
  await made('encode', at('photos'), '--out', at('latents'), '--format', 'safetensors', ...tiny)
  const dit = await randomDit(dir, 'small', vtpStyle({ hiddenSize: 96, depth: 3, numHeads: 4 }))
  writeFileSync(at('stats.pt'), encodeLatentsStats(new Float32Array(64).fill(0.1), new Float32Array(64).fill(1.5)))
  const often = ['--checkpoint-seconds', '0']
  const start =
    (from: string, ...without: string[]) =>
    (out: string) => {
      cpSync(at(from), out, { recursive: true })
      for (const name of without) rmSync(path.join(out, name), { force: true })
    }
  return {
    // Several threads add vectors in an order of their own.
    'index (build)': { args: ['index', at('embeddings'), at('more embeddings'), '--workers', '1'] },
    'index (append)': {
      args: ['index', at('more embeddings'), '--append', '--workers', '1'],
      begin: start('photos.index'),
    },
    embed: { args: ['embed', at('photos'), ...tiny, ...often] },
    'eval-recon': {
      args: [
        'eval-recon',
        at('photos'),
        '--metrics',
        'psnr,ssim',
        '--batch-size',
        '2',
        '--transform',
        'adm-crop(64)',
        ...often,
      ],
    },
    'eval-probe': {
      args: [
        ...['eval-probe', '--train', at('photos'), '--val', at('more photos'), '--epochs', '2', '--epoch-length', '3'],
        ...['--batch-size', '2', '--blocks', '1', '--learning-rates', '0.01,0.1', ...often],
      ],
    },
    fid: {
      args: ['fid', at('photos'), at('more photos'), '--weights', hashWeightsFolder(), '--dims', '64', ...often],
      env: () => ({}),
    },
    generate: {
      args: [
        ...['generate', '--dit', dit, '--stats', at('stats.pt'), '--num', '12', '--shard-rows', '4', '--steps', '4'],
        ...['--timestep-shift', '0.3', '--cfg-scale', '1.5', '--batch-size', '2'],
      ],
    },
    'model pull': {
      args: ['model', 'pull', 'org/nano'],
      env: (out) => ({ HF_ENDPOINT: hub.endpoint, HF_HOME: out, HF_TOKEN: '' }),
    },
    decode: { args: ['decode', at('latents'), '--batch-size', '2'] },
    finalize: {
      args: ['finalize'],
      begin: start('latents', '_manifest.json', 'latents_stats.pt'),
      env: () => ({}),
    },
    train: {
      args: [
        ...['train', at('latents'), '--size', '16x1x2/1', '--batch-size', '4', '--micro-batch', '2', '--seed', '5'],
        ...['--steps', '12', '--save-every', '5'],
      ],
    },
  }
}

/** A hub with the bundled model. */
export async function hubOfNano(): Promise<HubServer> {
  const { readFile } = await import('node:fs/promises')
  const file = (name: string): Promise<Buffer> => readFile(path.join(repoRoot, 'models', 'vtp-nano', name))
  return serveHub({
    name: 'org/nano',
    files: {
      'config.json': { bytes: await file('config.json') },
      'model.safetensors': { bytes: await file('model.safetensors'), lfs: true },
    },
    revisions: { main: COMMIT_A },
  })
}
