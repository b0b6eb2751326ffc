/** `vtp eval-recon` and the official script on the same images and weights; for the comparison and the benchmark. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { bundledModelFolder } from '../../src/model/index.js'
import { repoRoot } from '../support/cli.js'
import { hashWeightsFolder } from '../support/hash-weights.js'

export interface ReconNumbers {
  rfid: number
  psnr: number
  ssim: number
  lpips: number
  seconds: number
}

export interface ReconRuns {
  images: number
  model: string
  ours(): ReconNumbers
  official(): ReconNumbers
  close(): void
}

/** Reads VTP_OFFICIAL (a clone of MiniMax-AI/VTP) and VTP_PYTHON (a Python with torch, torchmetrics, pytorch-fid). */
export function prepareReconRuns(
  source: string | undefined,
  options: { limit: number; batch: number; model?: string },
): ReconRuns {
  const { VTP_OFFICIAL: clone, VTP_PYTHON: python } = process.env
  if (!source || !clone || !python) throw new Error('give SOURCE, and VTP_OFFICIAL and VTP_PYTHON in the environment')
  const model = options.model ?? bundledModelFolder()
  const weights = hashWeightsFolder()
  const scratch = mkdtempSync(path.join(tmpdir(), 'vtp-recon-'))
  // One class folder, as ImageFolder wants it.
  const folder = path.join(scratch, 'images')
  mkdirSync(path.join(folder, 'all'), { recursive: true })
  const files = readdirSync(source, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.jpe?g$/i.test(entry.name))
    .map((entry) => path.resolve(entry.parentPath, entry.name))
    .sort()
    .slice(0, options.limit)
  for (const file of files) symlinkSync(file, path.join(folder, 'all', path.basename(file)))
  const batch = String(options.batch)
  const run = (program: string, args: string[]): string =>
    execFileSync(program, args, { stdio: ['ignore', 'pipe', 'inherit'], maxBuffer: 2 ** 26 })
      .toString()
      .trim()
  return {
    images: files.length,
    model: path.basename(model),
    ours: () =>
      JSON.parse(
        run(process.execPath, [
          path.join(repoRoot, 'bin', 'run.js'),
          ...['eval-recon', folder, '--model', model, '--weights', weights, '--protocol-batch', batch, '--json'],
        ]),
      ) as ReconNumbers,
    official() {
      const out = path.join(scratch, 'official')
      rmSync(out, { recursive: true, force: true }) // the script reuses images that it finds
      const script = path.join(repoRoot, 'test', 'interop', 'official_recon.py')
      const printed = run(python, [script, clone, model, folder, weights, out, String(files.length), batch])
      const { fid, ...rest } = JSON.parse(printed.split('\n').at(-1)!) as Omit<ReconNumbers, 'rfid'> & { fid: number }
      return { ...rest, rfid: fid }
    },
    close: () => rmSync(scratch, { recursive: true, force: true }),
  }
}
