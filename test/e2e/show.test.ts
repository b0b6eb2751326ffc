/** `vtp show` as users run it. */
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import sharp from 'sharp'
import { expect, it } from 'vitest'
import type { ShowJson } from '../../src/cli/run/show.js'
import { repoRoot, runCli, tempDir } from '../support/cli.js'

const fixtures = path.join(repoRoot, 'fixtures/images')
const photo = path.join(fixtures, 'people and animals/astronaut.jpg')
const SIZE = 64
const GAP = 4

/** One cell of a picture, as raw bytes. */
const cell = (file: string, column: number, row: number, gap: number): Promise<Buffer> =>
  sharp(file)
    .extract({ left: column * (SIZE + gap), top: row * (SIZE + gap), width: SIZE, height: SIZE })
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
