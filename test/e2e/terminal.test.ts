/**
 * A terminal obeys certain characters: names of strangers must not reach it with them. Each command that prints
 * something of its input gets names that would set the title, clear the screen and forge a line of ours.
 */
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { repoRoot, runCli, sharedTempDir } from '../support/cli.js'
import { encodedPicture } from '../support/images.js'
import { QUICK_FLAGS } from '../support/small-images.js'

const EVIL = '\u001b]0;PWN\u0007\u001b[2J\u009b31m\u202e\nError: forged'
const dir = sharedTempDir()
const at = (...names: string[]): string => path.join(dir, ...names)

beforeAll(async () => {
  for (const [i, label] of ['a', `b${EVIL}`].entries()) {
    mkdirSync(at('photos', label), { recursive: true })
    writeFileSync(at('photos', label, `${i}${EVIL}.png`), await encodedPicture(i, 40, 30, 'png'))
    writeFileSync(at('photos', label, `broken${EVIL}.png`), 'no image')
  }
  mkdirSync(at('model'))
  const nano = path.join(repoRoot, 'models', 'vtp-nano')
  const config = JSON.parse(readFileSync(path.join(nano, 'config.json'), 'utf8')) as Record<string, unknown>
  writeFileSync(at('model', 'config.json'), JSON.stringify(config))
  const header = Buffer.from(JSON.stringify({ [`x${EVIL}`]: { dtype: 'F32', shape: [1], data_offsets: [0, 4] } }))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(header.length))
  writeFileSync(at('model', 'model.safetensors'), Buffer.concat([length, header, Buffer.alloc(4)]))
  mkdirSync(at('odd-model'))
  writeFileSync(at('odd-model', 'config.json'), JSON.stringify({ ...config, [`key${EVIL}`]: EVIL }))
  symlinkSync(path.join(nano, 'model.safetensors'), at('odd-model', 'model.safetensors'))
  writeFileSync(at('labels.txt'), `${EVIL.replaceAll('\n', ' ')}a\n${EVIL.replaceAll('\n', ' ')}b\n`)
  writeFileSync(at('run.yaml'), `${JSON.stringify(`key${EVIL}`)}: 1\n`)
  writeFileSync(at('list.txt'), `${EVIL.replaceAll('\n', ' ')}.png\n`)
  const embedded = await runCli(['embed', at('photos'), '--out', at('embeddings'), '--max-bad', '1'])
  expect(embedded.code).toBe(0)
  expect((await runCli(['index', at('embeddings'), '--out', at('index'), '--kind', 'exact'])).code).toBe(0)
})

describe('names that steer a terminal are shown as escapes by', () => {
  const cases: [name: string, args: () => string[], shows: boolean][] = [
    ['model info, of tensors', () => ['model', 'info', at('model')], true],
    ['model info, of settings', () => ['model', 'info', at('odd-model')], false],
    ['classify, of labels', () => ['classify', at('embeddings'), '--labels', at('labels.txt'), '--out', at('c')], true],
    ['--config, of keys', () => ['encode', at('photos'), '--out', at('x'), '--config', at('run.yaml')], true],
    ['an unknown flag', () => ['encode', `--${EVIL}`], true],
    ['a folder that is missing', () => ['encode', at(`none${EVIL}`), '--out', at('x')], true],
    ['encode, of rejects', () => ['encode', at('photos'), '--out', at('latents'), ...QUICK_FLAGS], false],
    ['encode --out', () => ['encode', at('photos'), '--out', at(`out${EVIL}`), ...QUICK_FLAGS], true],
    ['encode, of a list', () => ['encode', at('list.txt'), '--out', at('listed'), ...QUICK_FLAGS], false],
    ['eval-recon, of what is left out', () => ['eval-recon', at('photos'), '--metrics', 'psnr'], true],
    ['verify', () => ['verify', at('embeddings')], false],
    ['search', () => ['search', at('index'), 'a photo'], true],
    ['search, of queries', () => ['search', at('index'), `a${EVIL}`, '--image', at(`none${EVIL}`)], true],
    ['dedup', () => ['dedup', at('index'), '--threshold', '-1'], true],
    ['status', () => ['status', at('embeddings')], false],
  ]
  it.each(cases)('%s', async (_, args, shows) => {
    const { stdout, stderr } = await runCli(args())
    const text = stdout + stderr
    expect(text).not.toBe('')
    expect(text.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\u202e]/u)
    expect(text).not.toMatch(/^Error: forged/m)
    if (shows) expect(text).toContain('\\x1b]0;PWN')
  })

  it('--json, where they are exact data', async () => {
    const { stdout } = await runCli(['search', at('index'), 'a photo', '--json'])
    expect(stdout.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\u202e]/u)
    const { results } = JSON.parse(stdout) as { results: { key: string }[] }
    expect(results.map(({ key }) => key).sort()).toEqual([`a/0${EVIL}.png`, `b${EVIL}/1${EVIL}.png`])
  })
})

it('a name of megabytes is cut in messages', async () => {
  const name = 'x'.repeat(3_000_000)
  writeFileSync(at('long.yaml'), `${name}: 1\n`)
  const { code, stderr } = await runCli(['encode', at('photos'), '--out', at('x'), '--config', at('long.yaml')])
  expect(code).toBe(2)
  expect(stderr.length).toBeLessThan(5000)
})
