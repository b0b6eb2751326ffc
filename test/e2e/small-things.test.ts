/** What people stumble over: each says what it is and what to do. */
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { repoRoot, runCli, sharedTempDir } from '../support/cli.js'
import { QUICK_FLAGS } from '../support/small-images.js'

const dir = sharedTempDir()
const at = (...names: string[]): string => path.join(dir, ...names)
const coffee = path.join(repoRoot, 'fixtures', 'images', 'things', 'coffee.webp')

beforeAll(() => {
  for (const name of ['red_car', 'sea-snake']) {
    mkdirSync(at('photos', name), { recursive: true })
    cpSync(coffee, at('photos', name, 'a.webp'))
  }
  mkdirSync(at('mixed'))
  cpSync(coffee, at('mixed', 'a.webp'))
  writeFileSync(at('mixed', 'b.png'), '')
  for (const name of ['c.png', 'd.png']) writeFileSync(at('mixed', name), 'no image')
})

describe('encode', () => {
  it('names its rejects by code, why the exit code is 1, and what to do next', async () => {
    const { code, stderr } = await runCli(['encode', at('mixed'), '--out', at('out'), ...QUICK_FLAGS])
    expect(code).toBe(1)
    expect(stderr).toContain('1 row, 3 rejects, 1/1 unit')
    expect(stderr).toContain('rejects: 2 unsupported_format, 1 empty;')
    expect(stderr).toMatch(/^Exit code 1: 75\.00 % of the images were rejected, more than --max-bad 1\.00 %/m)
    expect(stderr).toMatch(/^Next: vtp decode /m)
    const again = await runCli(['encode', at('mixed'), '--out', at('out'), ...QUICK_FLAGS, '--json'])
    expect(JSON.parse(again.stdout)).toMatchObject({
      images: 1,
      rejects: 3,
      rejectsByCode: { unsupported_format: 2, empty: 1 },
      exitReason: 'too_many_rejects',
    })
  })

  it('refuses --layers without the output', async () => {
    const { code, stderr } = await runCli(['encode', at('photos'), '--out', at('x'), '--layers', '2'])
    expect(code).toBe(2)
    expect(stderr).toContain('Try: add it: --outputs latents,layers')
  })
})

describe('a run that has not begun', () => {
  it('has a status that says so, and no statistics', async () => {
    expect((await runCli(['plan', at('photos'), '--out', at('planned')])).code).toBe(0)
    expect((await runCli(['status', at('planned')])).stdout).toMatch(/^state +planned; no worker has started/m)
    const { code, stderr } = await runCli(['stats', at('planned')])
    expect(code).toBe(2)
    expect(stderr).toContain('has no rows yet')
  })
})

describe('evaluations', () => {
  it('take the names of the class folders', async () => {
    const { stdout } = await runCli(['eval-zeroshot', at('photos'), '--classnames', 'folder', '--json'])
    const { classes } = JSON.parse(stdout) as { classes: { name: string }[] }
    expect(classes.map(({ name }) => name)).toEqual(['red car', 'sea snake'])
  })

  it('without weights say what needs none', async () => {
    const env = { VTP_WEIGHTS_URL: 'http://127.0.0.1:1/', TORCH_HOME: at('none'), VTP_CACHE: at('cache') }
    const { code, stderr } = await runCli(['eval-recon', at('photos')], { env })
    expect(code).not.toBe(0)
    expect(stderr).toContain('--metrics psnr,ssim')
  })
})

it('an exported folder can be moved: its own file names what lies beside it', async () => {
  expect((await runCli(['model', 'export', 'nano', '--out', at('graphs'), '--towers', 'decoder'])).code).toBe(0)
  const { graphs } = JSON.parse(readFileSync(at('graphs', 'export.json'), 'utf8')) as { graphs: object[] }
  expect(graphs).toMatchObject([{ file: 'decoder.onnx', weights: 'decoder.weights' }])
})
