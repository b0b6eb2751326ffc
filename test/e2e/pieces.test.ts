/**
 * What an open unit has finished outlives the process: after a kill or Ctrl-C the next run takes it up, and the bytes
 * are those of an undisturbed run.
 */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { runCli } from '../support/cli.js'
import { writePictures } from '../support/images.js'
import { namesIn, signalWhen } from '../support/signal-when.js'

const dir = mkdtempSync(path.join(tmpdir(), 'vtp pieces '))
afterAll(() => rmSync(dir, { recursive: true, force: true }))
const at = (...names: string[]): string => path.join(dir, ...names)
const IMAGES = 24
const photos = at('photos')
const texts = at('texts.txt')

const JOBS: Record<string, string[]> = {
  'latents in Arrow': ['encode', photos],
  'pixels and their mirror in Parquet': ['encode', photos, '--outputs', 'pixels,cls', '--flip', '--format', 'parquet'],
  'embeddings in npy': ['embed', photos, '--format', 'npy'],
  'embeddings of texts': ['embed', '--text', texts],
}
/** One unit: without pieces a kill would cost all of it. */
const argsOf = (job: string, out: string): string[] => [
  ...JOBS[job]!,
  ...['--out', out, '--batch-size', '3', '--checkpoint-seconds', '0', '--max-bad', '1'],
]

beforeAll(async () => {
  await writePictures(photos, IMAGES - 1)
  writeFileSync(at('photos', 'b', 'broken.jpg'), 'no image at all')
  writeFileSync(texts, Array.from({ length: 3000 }, (_, i) => `the picture with the number ${i}\n`).join(''))
})

/** SHA-256 of nothing: the bytes themselves of every file that is not below _vtp. */
function contents(out: string): Record<string, string> {
  const files = readdirSync(out, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  const names = files.map((entry) => path.relative(out, path.join(entry.parentPath, entry.name))).sort()
  const data = names.filter((name) => !name.startsWith('_vtp'))
  return Object.fromEntries(data.map((name) => [name, readFileSync(path.join(out, name), 'base64')]))
}
const pieces = (out: string): string[] => namesIn(path.join(out, '_vtp', 'pieces'), /\.safetensors$/)

describe.each(Object.keys(JOBS))('%s', (job) => {
  it('killed twice within its only unit: what was finished is taken up, the bytes are the same', async () => {
    const whole = at(`whole ${job}`)
    const killed = at(`killed ${job}`)
    const undisturbed = await runCli(argsOf(job, whole))
    expect(undisturbed.code, undisturbed.stderr).toBe(0)
    for (const count of [1, 3]) {
      const run = await runCli(argsOf(job, killed), {
        onSpawn: signalWhen('SIGKILL', () => pieces(killed).length >= count, 30),
      })
      expect(run.signal, run.stderr).toBe('SIGKILL')
    }
    const last = await runCli([...argsOf(job, killed), '--json'])
    expect(last.code, last.stderr).toBe(0)
    expect(last.stderr).toMatch(/Unit 0: \d+ of \d+ images are taken up/)
    expect(JSON.parse(last.stdout).resumedImages).toBeGreaterThanOrEqual(9)
    expect(contents(killed)).toEqual(contents(whole))
    expect(pieces(killed)).toEqual([])
  })
})

describe('an interrupted unit', () => {
  const args = (out: string, ...rest: string[]): string[] => [
    ...['encode', photos, '--out', out, '--batch-size', '3', '--max-bad', '1', '--image-size', '64'],
    ...rest,
  ]
  let whole: Record<string, string>
  beforeAll(async () => {
    expect((await runCli(args(at('undisturbed')))).code).toBe(0)
    whole = contents(at('undisturbed'))
  })

  /** Leaves a run that was killed when it had this many pieces. */
  async function killAt(name: string, count: number): Promise<string> {
    const out = at(name)
    const run = await runCli(args(out, '--checkpoint-seconds', '0'), {
      onSpawn: signalWhen('SIGKILL', () => pieces(out).length >= count),
    })
    expect(run.signal, run.stderr).toBe('SIGKILL')
    return out
  }

  it('is kept by Ctrl-C as far as it is finished, and both runs say so', async () => {
    const out = at('stopped')
    const log = at('stopped.jsonl')
    // The broken image is in the third or fourth batch: its reject is logged when that is written.
    const stopped = await runCli(args(out, '--checkpoint-seconds', '3600', '--log', log), {
      onSpawn: signalWhen('SIGINT', () => existsSync(log) && readFileSync(log, 'utf8').includes('"reject"')),
    })
    expect(stopped.code, stopped.stderr).toBe(4)
    const keptImages = Number(/(\d+) finished images of unit 0 are kept/.exec(stopped.stderr)?.[1])
    expect(keptImages, stopped.stderr).toBeGreaterThanOrEqual(9)
    expect(JSON.parse((await runCli(['status', out, '--json'])).stdout).imagesKept).toBe(keptImages)
    const next = await runCli(args(out, '--json'))
    expect(JSON.parse(next.stdout)).toMatchObject({ resumedImages: keptImages, keptImages: 0, images: IMAGES - 1 })
    expect(contents(out)).toEqual(whole)
  })

  it('passes over damaged pieces and those of another run, and does their entries anew', async () => {
    const out = await killAt('damaged', 4)
    const folder = path.join(out, '_vtp', 'pieces')
    const [first, second, third] = pieces(out).sort()
    const bytes = readFileSync(path.join(folder, second!))
    bytes[bytes.length - 5]! ^= 1
    writeFileSync(path.join(folder, second!), bytes)
    writeFileSync(path.join(folder, third!), 'cut off')
    writeFileSync(path.join(folder, 'notes.txt'), 'of somebody')
    writeFileSync(path.join(folder, first!.replace('.00000-', '.00002-')), readFileSync(path.join(folder, first!)))
    const next = await runCli(args(out, '--json'))
    expect(next.code, next.stderr).toBe(0)
    expect(JSON.parse(next.stdout).resumedImages).toBeGreaterThanOrEqual(6)
    expect(contents(out)).toEqual(whole)
    expect(pieces(out)).toEqual([])
  })

  it('is taken up by another worker; a kill between commit and clean-up leaves nothing for ever', async () => {
    const out = await killAt('by another', 2)
    const name = pieces(out)[0]!
    const bytes = readFileSync(path.join(out, '_vtp', 'pieces', name))
    const helper = await runCli(args(out, '--worker-index', '1', '--worker-count', '2', '--json'))
    expect(helper.code, helper.stderr).toBe(0)
    expect(JSON.parse(helper.stdout).resumedImages).toBeGreaterThanOrEqual(3)
    expect(contents(out)).toEqual(whole)
    // A zombie writes its piece after all was done.
    for (const command of [['gc', out, '--older-than', '0s'], ['finalize', out], args(out)]) {
      writeFileSync(path.join(out, '_vtp', 'pieces', name), bytes)
      expect((await runCli(command)).code).toBe(0)
      expect(pieces(out), command[0]).toEqual([])
    }
  })
})
