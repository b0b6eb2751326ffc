/** Evaluations that die in the middle: the same command goes on and ends with the very numbers of an undisturbed run. */
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type CliResult, runCli } from '../support/cli.js'
import { hashWeightsFolder } from '../support/hash-weights.js'
import { encodedPicture, writePictures } from '../support/images.js'

const dir = mkdtempSync(path.join(tmpdir(), 'vtp resume '))
const inDir = (name: string): string => path.join(dir, name)
const cache = inDir('cache')
const env = { VTP_CACHE: cache }
const often = ['--checkpoint-seconds', '0']
afterAll(() => rmSync(dir, { recursive: true, force: true }))
afterEach(() => rmSync(path.join(cache, 'evaluations'), { recursive: true, force: true }))

/** Pictures of one size, which share batches. */
async function writeSamples(folder: string, first: number, count: number): Promise<void> {
  await mkdir(folder, { recursive: true })
  for (let i = 0; i < count; i++)
    writeFileSync(
      path.join(folder, `${String(i).padStart(3, '0')}.png`),
      await encodedPicture(first + i, 48, 48, 'png'),
    )
}

beforeAll(async () => {
  await writePictures(inDir('photos'), 24)
  await writeSamples(inDir('reference'), 0, 16)
  await writeSamples(inDir('samples'), 50, 12)
  writeFileSync(inDir('names.txt'), 'red waves\ngreen noise\nblue squares\n')
  writeFileSync(inDir('templates.txt'), 'a photo of {c}.\na drawing of {c}.\n')
})

/** What interrupted evaluations have left in the cache. */
function leftovers(): string[] {
  const folder = path.join(cache, 'evaluations')
  return existsSync(folder) ? readdirSync(folder) : []
}

const checkpoints = (): string[] =>
  leftovers().filter((name) => existsSync(path.join(cache, 'evaluations', name, 'checkpoint.bin')))

/** Runs a command and sends it a signal as soon as there are so many checkpoints of sets. */
function stop(args: string[], signal: NodeJS.Signals, sets = 1): Promise<CliResult> {
  return runCli([...args, ...often], {
    env,
    onSpawn: (child) => {
      const watch = setInterval(() => {
        if (checkpoints().length < sets) return
        clearInterval(watch)
        child.kill(signal)
      }, 5)
      child.on('exit', () => clearInterval(watch))
    },
  })
}

async function finish(args: string[]): Promise<{ numbers: Record<string, unknown>; stderr: string }> {
  const { code, stdout, stderr } = await runCli([...args, ...often, '--json'], { env })
  expect(code, stderr + stdout).toBe(0)
  const { seconds: _, peakMemoryBytes: __, ...numbers } = JSON.parse(stdout)
  return { numbers, stderr }
}

const fid = (batch: number): string[] => [
  ...['fid', inDir('reference'), inDir('samples'), '--weights', hashWeightsFolder()],
  ...['--dims', '64', '--batch-size', String(batch)],
]
const zeroshot = (...more: string[]): string[] => [
  ...['eval-zeroshot', inDir('photos'), '--classnames', inDir('names.txt'), '--templates', inDir('templates.txt')],
  ...['--batch-size', '2', ...more],
]

describe('vtp fid', () => {
  it('killed in the first set and stopped in the second, it ends with the identical distance and leaves nothing', async () => {
    const whole = await finish(fid(2))
    expect(leftovers()).toEqual([])
    expect((await stop(fid(2), 'SIGKILL')).signal).toBe('SIGKILL')
    const stopped = await stop(fid(3), 'SIGINT', 2)
    expect(stopped.code, stopped.stderr).toBe(4)
    expect(stopped.stderr).toMatch(/Continuing: \d+ of 16 images/)
    expect(stopped.stderr).toMatch(/Run the same command again to continue/)
    const rest = await finish(fid(1))
    expect(rest.stderr).toMatch(/Continuing: 16 of 16 images/)
    expect(rest.numbers).toEqual(whole.numbers)
    expect(leftovers()).toEqual([])
  }, 300_000)
})

describe('vtp eval-gen', () => {
  it('killed, it ends with the identical FID, sFID, Inception Score, precision and recall', async () => {
    const sets = ['eval-gen', inDir('samples'), '--reference', inDir('reference')]
    const args = [...sets, '--weights', hashWeightsFolder(), '--batch-size', '4']
    const whole = await finish(args)
    expect((await stop(args, 'SIGKILL')).signal).toBe('SIGKILL')
    const rest = await finish(args)
    expect(rest.stderr).toMatch(/Continuing: \d+ of 16 images/)
    expect(rest.numbers).toEqual(whole.numbers)
  }, 300_000)
})

describe('vtp eval-zeroshot', () => {
  it('killed in the classes and in the images, it ends with the identical accuracies', async () => {
    expect((await stop(zeroshot(), 'SIGKILL')).signal).toBe('SIGKILL')
    expect(leftovers()).toHaveLength(1)
    expect(existsSync(path.join(cache, 'zeroshot'))).toBe(false)
    // The embeddings of the classes are done now, and what is killed are the images.
    const whole = await finish(zeroshot())
    expect((await stop(zeroshot(), 'SIGKILL')).signal).toBe('SIGKILL')
    const rest = await finish(zeroshot())
    expect(rest.stderr).toMatch(/Continuing: \d+ of 24 images/)
    expect(rest.numbers).toEqual(whole.numbers)
    expect(leftovers()).toEqual([])
  }, 300_000)

  it('another model, another flag or another file under the same name does not continue with it', async () => {
    await stop(zeroshot(), 'SIGKILL')
    const began = checkpoints()
    expect(began).toHaveLength(1)
    const limited = await finish(zeroshot('--limit', '20'))
    expect(limited.stderr).not.toMatch(/Continuing/)
    const exact = await finish(zeroshot('--precision', 'int8'))
    expect(exact.stderr).not.toMatch(/Continuing/)
    expect(checkpoints()).toEqual(began)
    const [first] = readdirSync(path.join(inDir('photos'), 'a'))
    writeFileSync(path.join(inDir('photos'), 'a', first!), await encodedPicture(99, 60, 60, 'png'))
    expect((await finish(zeroshot())).stderr).not.toMatch(/Continuing/)
  }, 300_000)
})

describe('vtp eval-recon', () => {
  it('killed without --out, it continues from the cache with the identical numbers', async () => {
    const args = ['eval-recon', inDir('photos'), '--metrics', 'psnr,ssim', '--batch-size', '2']
    const whole = await finish(args)
    expect((await stop(args, 'SIGKILL')).signal).toBe('SIGKILL')
    const rest = await finish(args)
    expect(rest.stderr).toMatch(/Continuing: \d+ of 24 images/)
    expect(rest.numbers).toEqual(whole.numbers)
    expect(leftovers()).toEqual([])
  }, 300_000)
})

describe('vtp eval-probe', () => {
  it('killed without --out, it continues from the cache with the identical grid; another seed begins anew', async () => {
    const args = (seed: number): string[] => [
      ...['eval-probe', '--train', inDir('photos'), '--val', inDir('photos'), '--seed', String(seed)],
      ...['--epochs', '2', '--epoch-length', '3', '--batch-size', '8', '--learning-rates', '0.01,0.1'],
    ]
    const whole = await finish(args(0))
    expect(leftovers()).toEqual([])
    expect((await stop(args(0), 'SIGKILL')).signal).toBe('SIGKILL')
    expect((await finish(args(1))).stderr).not.toMatch(/Continuing/)
    const rest = await finish(args(0))
    expect(rest.stderr).toMatch(/Continuing at step [1-6]\./)
    expect(rest.numbers).toEqual(whole.numbers)
    expect(leftovers()).toEqual([])
  }, 300_000)
})

describe('vtp eval', () => {
  it('stopped without --out, it does not repeat what was finished', async () => {
    const args = [
      ...['eval', inDir('photos'), '--tasks', 'recon,zeroshot', '--metrics', 'psnr', '--batch-size', '2'],
      ...['--classnames', inDir('names.txt'), '--templates', inDir('templates.txt')],
    ]
    const whole = await finish(args)
    expect(leftovers()).toEqual([])
    // Two: the finished reconstruction, and the zero-shot task in its images.
    const stopped = await stop(args, 'SIGINT', 2)
    expect(stopped.code, stopped.stderr).toBe(4)
    const rest = await finish(args)
    expect(rest.stderr).toMatch(/Continuing: 24 of 24 images are done/)
    expect(rest.numbers).toEqual(whole.numbers)
    expect(leftovers()).toEqual([])
  }, 300_000)
})

describe('two processes on one --out', () => {
  it.each([
    ['eval-recon', () => [inDir('photos'), '--metrics', 'psnr,ssim', '--batch-size', '2'], ['psnr', 'ssim', 'images']],
    [
      'eval-probe',
      () => [
        ...['--train', inDir('photos'), '--val', inDir('photos'), '--epochs', '1', '--epoch-length', '2'],
        ...['--batch-size', '4', '--blocks', '1'],
      ],
      ['accuracies', 'losses'],
    ],
  ] as const)(
    '%s: the second is refused or has the right numbers, and the third run has them',
    async (command, args, names) => {
      const run = (out: string) =>
        runCli([command, ...args(), '--out', inDir(out), '--json', '--checkpoint-seconds', '0'], { env })
      const numbers = ({ stdout }: CliResult): unknown[] => {
        const json = JSON.parse(stdout)
        return names.map((name) => json[name])
      }
      const alone = numbers(await run(`${command} alone`))
      const both = await Promise.all([run(`${command} both`), run(`${command} both`)])
      expect(both.map(({ code }) => code)).toContain(0)
      for (const result of both) {
        if (result.code === 0) expect(numbers(result)).toEqual(alone)
        else {
          expect(result.code, result.stderr).toBe(3)
          expect(result.stderr + result.stdout).toMatch(/Another process works on .*: process \d+ on /)
        }
      }
      expect(numbers(await run(`${command} both`))).toEqual(alone)
    },
    120_000,
  )
})
