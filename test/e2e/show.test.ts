/** Sheets to look at, as users make them: `vtp show` and `vtp decode --grid`. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import type { ShowJson } from '../../src/cli/run/show.js'
import { repoRoot, runCli, tempDir } from '../support/cli.js'

const fixtures = path.join(repoRoot, 'fixtures/images')
const photo = path.join(fixtures, 'people and animals/astronaut.jpg')
const SIZE = 64
const GAP = 4

/** One cell of a picture, as raw bytes. */
const cell = (file: string, column: number, row: number, gap: number, size = SIZE): Promise<Buffer> =>
  sharp(file)
    .extract({ left: column * (size + gap), top: row * (size + gap), width: size, height: size })
    .removeAlpha()
    .raw()
    .toBuffer()

it('draws each image with its reconstruction, error and patch tokens, and passes over what cannot be read', async () => {
  const dir = tempDir()
  const sheet = path.join(dir, 'sheet.png')
  const list = path.join(dir, 'list.txt')
  writeFileSync(
    list,
    `${path.join(repoRoot, 'fixtures/broken/empty.jpg')}\n${photo}\n${path.join(fixtures, 'things/clock.gif')}\n`,
  )
  const size = ['--image-size', String(SIZE)]
  const { code, stdout, stderr } = await runCli(['show', list, '--out', sheet, ...size, '--json'])
  expect([code, JSON.parse(stdout) as ShowJson]).toMatchObject([
    0,
    { images: 2, rejects: 1, columns: ['original', 'reconstruction', 'error', 'patches'], missing: {}, out: sheet },
  ])
  expect(stderr).toContain('empty.jpg')
  const { width, height } = await sharp(sheet).metadata()
  expect([width, height]).toEqual([4 * SIZE + 3 * GAP, 2 * SIZE + GAP])

  // The first two columns are what `vtp decode --side-by-side` draws.
  const decoded = path.join(dir, 'decoded.png')
  await runCli(['decode', photo, '--out', decoded, '--side-by-side', ...size])
  for (const column of [0, 1]) {
    expect((await cell(sheet, column, 0, GAP)).equals(await cell(decoded, column, 0, 8))).toBe(true)
  }
  // 4×4 patches of one colour each, not all the same.
  const patches = await cell(sheet, 3, 0, GAP)
  const colours = new Set(
    Array.from({ length: 16 }, (_, i) => {
      const at = ((Math.floor(i / 4) * 16 + 8) * SIZE + (i % 4) * 16 + 8) * 3
      return patches.subarray(at, at + 3).join()
    }),
  )
  expect(colours.size).toBeGreaterThan(8)
  expect(new Set(Array.from({ length: SIZE * SIZE }, (_, i) => patches.subarray(3 * i, 3 * i + 3).join())).size).toBe(
    colours.size,
  )
})

it('writes a JPEG by the name, and refuses other names and empty sources', async () => {
  const dir = tempDir()
  const sheet = path.join(dir, 'sheet.jpg')
  expect((await runCli(['show', photo, '--out', sheet, '--image-size', '32'])).code).toBe(0)
  expect(readFileSync(sheet).subarray(0, 3)).toEqual(Buffer.from([0xff, 0xd8, 0xff]))
  const wrong = await runCli(['show', photo, '--out', path.join(dir, 'sheet.svg')])
  expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringContaining('end it with .png or .jpg')])
  const empty = await runCli(['show', tempDir(), '--out', sheet])
  expect([empty.code, empty.stderr]).toEqual([2, expect.stringMatching(/no image|does not hold/i)])
})

describe('vtp decode --grid', () => {
  const tiny = ['--image-size', '32']

  it('lays decoded rows out in their order, as the files that it writes without --grid', async () => {
    const dir = tempDir()
    const at = (name: string): string => path.join(dir, name)
    const names = ['people and animals/astronaut.jpg', 'things/clock.gif', 'things/coffee.webp']
    writeFileSync(at('list.txt'), names.map((name) => path.join(fixtures, name)).join('\n'))
    expect((await runCli(['encode', at('list.txt'), '--out', at('latents'), '--shard-rows', '2', ...tiny])).code).toBe(
      0,
    )
    const grid = ['--grid', '--per-row', '2', '--batch-size', '1', '--json']
    const { code, stdout } = await runCli(['decode', at('latents'), '--out', at('sheet.png'), ...grid])
    expect([code, JSON.parse(stdout)]).toMatchObject([0, { images: 3, rejects: 0, out: at('sheet.png') }])
    await runCli(['decode', at('latents'), '--out', at('files')])
    const { width, height } = await sharp(at('sheet.png')).metadata()
    expect([width, height]).toEqual([2 * 32 + GAP, 2 * 32 + GAP])
    const files = readdirSync(at('files'), { recursive: true, encoding: 'utf8' }).filter((name) =>
      name.endsWith('.png'),
    )
    for (const [i, name] of names.entries()) {
      const file = files.find((one) => one.endsWith(`${path.basename(name, path.extname(name))}.png`))!
      const alone = await sharp(path.join(at('files'), file))
        .raw()
        .toBuffer()
      expect((await cell(at('sheet.png'), i % 2, Math.floor(i / 2), GAP, 32)).equals(alone), name).toBe(true)
    }
  })

  it('says what a sheet needs', async () => {
    const folder = await runCli(['decode', fixtures, '--out', tempDir(), '--grid'])
    expect([folder.code, folder.stderr]).toEqual([2, expect.stringContaining('end it with .png or .jpg')])
    const large = await runCli(['decode', fixtures, '--out', 'sheet.png', '--grid', '--limit', '5000'])
    expect([large.code, large.stderr]).toEqual([2, expect.stringMatching(/at most 1000 images[\s\S]*smaller --limit/)])
    const alone = await runCli(['decode', fixtures, '--out', 'pictures', '--per-row', '3'])
    expect([alone.code, alone.stderr]).toEqual([2, expect.stringContaining('--grid')])
  })
})
