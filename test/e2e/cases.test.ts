/**
 * Cases from the field and attacks whose inputs lie beside the reference data: each with the command and the
 * outcome that its table names. Most cases without a file have tests of their own (output, sources, handles, telemetry,
 * shared-places, image-bombs, bombs).
 */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { openShard } from '../../src/io/shards/index.js'
import { goldenPath } from '../golden.js'
import { binPath, repoRoot, runCli, tempDir } from '../support/cli.js'
import { encodedPicture } from '../support/images.js'
import { readRejects, readRows } from '../support/parts.js'

const casePath = (...parts: string[]): string => goldenPath('..', 'cases', ...parts)

/** SHA-256 of the pixels of Pillow 12's `Image.open(f).convert('RGB')`; size is height × width. */
const PIXELS: [file: string, size: string, sha256: string][] = [
  ['tiff-orientation/orient2_deflate.tif', '20x24', '8fe1cbb36294f447f44e6f20056df5c891a98a99e3eadf801a60ff2ade3c1995'],
  ['tiff-orientation/orient3_lzw.tif', '20x24', 'b873adbeb1e828c7e7268fd0c37e3f2c0791e53bd3757aeb8e477db7da06638b'],
  ['tiff-orientation/orient6_rgb.tif', '24x20', 'bc10996e09d008b85146698cd1b3eecc23eeb6bef7f167eea752b16c16c2cdd2'],
  ['tiff-orientation/orient8_g4.tif', '24x20', '9250537f100952a42386974a77cbc5113fb6c31dc612b33e4e32b684c2ab55ce'],
  ['tiff-cmyk16/cmyk16.tif', '20x24', '6a88ca3a6e37a824a6b791c507096f085aa2837ad8d016140994bc50ad3862a6'],
  ['tiff-alpha16/assoc_alpha16.tif', '20x24', 'd708a98fa57863a398ff011f39cf686876cd14604cad7780345deb53935369d6'],
  ['tiff-signed/int16.tif', '20x24', 'b26e6ea90d0b97bc9d2f794a662f545cf928fab9deb20eccc0c6dd778361c880'],
  ['tiff-signed/int8.tif', '20x24', '04b00377721c35caf8e114c37d5975d6debcc3e026054a9793b7f28ce431801d'],
  ['tiff-codecs/zstd.tif', '20x24', 'b713aea55728012c0183fdc878e3ae0cc28ed75d8de873db41d965e8a99697d5'],
  ['tiff-codecs/tiled_planar.tif', '20x24', 'b713aea55728012c0183fdc878e3ae0cc28ed75d8de873db41d965e8a99697d5'],
  ['bmp-rle-delta/rle8_delta.bmp', '10x16', '894d4a5d7b21ddf90c2473994ffb3b9795a9fd5eadddd2b690660dc4f6b93d0b'],
]

interface Expected {
  source: string
  labels?: (number | null)[]
  captions?: (string | null)[]
  /** The end of every row's URI: which member it is. */
  uris?: RegExp
  rows?: number
  notes?: string[]
  passedOver?: number
}

const ROWS: Expected[] = [
  { source: 'tar-appledouble/macos.tar', labels: [0, 1, 2, 3] },
  { source: 'tar-names/latin1.tar', labels: [1, 2, 3] },
  { source: 'json-nan/jsonnan.tar', captions: ['a dog', 'a dog', 'a dog'] },
  { source: 'json-nan/nan.jsonl', rows: 4 },
  { source: 'jsonl-fields/null.jsonl', labels: [0, 1, null, null] },
  { source: 'label-range/label_i64.parquet', labels: Array(12).fill(null), notes: ['label_range'] },
  { source: 'parquet-paths/train.parquet', rows: 4 },
  { source: 'parquet-columns/twobin.parquet', rows: 12 },
  { source: 'tar-two-images/pair.tar', uris: /\d{5}\.jpg$/ },
  { source: 'tar-checksum/v7signed.tar', rows: 3 },
  { source: 'list-utf16/list.txt', rows: 4 },
]

describe('cases from the field', () => {
  it('images have the pixels that Pillow sees', async () => {
    for (const size of new Set(PIXELS.map(([, size]) => size))) {
      const dir = tempDir()
      const wanted = PIXELS.filter(([, other]) => other === size)
      for (const [file] of wanted) cpSync(casePath(file), path.join(dir, 'in', path.basename(file)))
      const out = path.join(dir, 'out')
      const format = ['--outputs', 'pixels', '--image-size', size, '--format', 'parquet']
      const run = await runCli(['encode', path.join(dir, 'in'), '--out', out, ...format])
      expect(run.stderr + run.code).toMatch(/0$/)
      const shard = await openShard(path.join(out, 'part-00000.parquet'))
      const seen: Record<string, string> = {}
      for await (const { rows, tensors } of shard.read(['pixels'], 1)) {
        const bytes = tensors.pixels as Uint8Array
        seen[rows[0]!.key] = createHash('sha256').update(bytes).digest('hex')
      }
      await shard.close()
      expect(seen).toEqual(Object.fromEntries(wanted.map(([file, , hash]) => [path.basename(file), hash])))
    }
  })

  it.each(ROWS)('$source has its rows, labels and captions', async (expected) => {
    const out = path.join(tempDir(), 'out')
    const run = await runCli(['encode', casePath(expected.source), '--out', out, '--json', '--workers', '1'])
    expect(run.stderr + run.code).toMatch(/0$/)
    const json = JSON.parse(run.stdout) as { rejects: number; notes: { code: string }[] }
    const rows = await readRows(out)
    expect([json.rejects, readRejects(out)]).toEqual([0, []])
    expect(new Set(rows.map(({ key }) => key)).size).toBe(rows.length)
    if (expected.rows) expect(rows).toHaveLength(expected.rows)
    if (expected.labels) expect(rows.map(({ label }) => label)).toEqual(expected.labels)
    if (expected.captions) expect(rows.map(({ caption }) => caption)).toEqual(expected.captions)
    if (expected.uris) for (const { uri } of rows) expect(uri).toMatch(expected.uris)
    for (const code of expected.notes ?? []) expect(json.notes.map((note) => note.code)).toContain(code)
  })

  it('a recipe has the scalars of PyYAML: the complaint is about the checkpoint', async () => {
    const config = casePath('recipe-yaml', 'dit.yaml')
    const out = path.join(tempDir(), 'out')
    const args = ['generate', '--dit-config', config, '--dit', '/nonexistent.pt', '--out', out, '--dry-run']
    const run = await runCli(args)
    expect(run.code).not.toBe(0)
    expect(run.stderr).toContain('/nonexistent.pt')
    expect(run.stderr).not.toContain('fid_num')
  })
})

describe('attacks', () => {
  it.each([
    ['one of 45 million pixels', ['w45.png'], '1'],
    ['one of 100 million pixels', ['w100.png'], '1'],
    ['four at once', ['w45.png', 'w45.png', 'w45.png', 'w45.png'], '4'],
  ])('wide images are refused at once: %s', async (_, files, workers) => {
    const dir = tempDir()
    mkdirSync(path.join(dir, 'in'))
    for (const [i, file] of files.entries()) cpSync(casePath('wide-image', file), path.join(dir, 'in', `${i}.png`))
    const out = path.join(dir, 'out')
    const run = await runCli(['encode', path.join(dir, 'in'), '--out', out, '--workers', workers, '--max-bad', '100%'])
    expect(run.stderr + run.code).toMatch(/0$/)
    expect(readRejects(out).map(({ code, stage }) => [code, stage])).toEqual(
      files.map(() => ['too_many_pixels', 'transform']),
    )
  })

  it.each(['vision_depth', 'decoder_depth', 'text_depth'])(
    'a configuration of 10⁹ blocks is refused: %s',
    async (name) => {
      const dir = tempDir()
      const config = JSON.parse(readFileSync(casePath('config-depth', 'config.json'), 'utf8')) as Record<
        string,
        unknown
      >
      const sound = JSON.parse(
        readFileSync(path.join(repoRoot, 'models', 'vtp-nano', 'config.json'), 'utf8'),
      ) as Record<string, unknown>
      const text = JSON.stringify(name === 'vision_depth' ? config : { ...sound, [name]: 1e9 })
      writeFileSync(path.join(dir, 'config.json'), text)
      cpSync(path.join(repoRoot, 'models', 'vtp-nano', 'model.safetensors'), path.join(dir, 'model.safetensors'))
      const run = await runCli(['model', 'info', dir])
      expect([run.code, run.stderr]).toEqual([2, expect.stringContaining(name)])
    },
  )

  it.each([[['--dry-run']], [[]]])('10¹² rows in 152 bytes are an error at once %j', async (flags) => {
    const out = path.join(tempDir(), 'out')
    const source = casePath('parquet-rows', 'rows12.parquet')
    const run = await runCli(['encode', source, '--out', out, '--json', ...flags], { timeoutMs: 60_000 })
    expect([2, 3]).toContain(run.code)
    expect((JSON.parse(run.stdout) as { error: { code: string } }).error.code).toBe('bad_parquet')
  })

  it('text from files reaches no terminal with control characters', async () => {
    const dir = tempDir()
    mkdirSync(path.join(dir, 'in'))
    writeFileSync(path.join(dir, 'in', 'a.png'), await encodedPicture(1, 24, 20, 'png'))
    const photos = path.join(dir, 'in')
    for (const args of [
      ['model', 'info', casePath('terminal-escapes', 'model')],
      ['classify', photos, '--labels', casePath('terminal-escapes', 'labels.txt')],
      ['encode', photos, '--out', path.join(dir, 'out'), '--config', casePath('terminal-escapes', 'c.yaml')],
    ]) {
      const run = await runCli(args)
      expect(run.stderr.length).toBeGreaterThan(0)
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
      expect(run.stderr).not.toMatch(/[\x1b\x07\x9b]/)
    }
  })

  it('a bucket cannot make vtp verify write outside its folder', () => {
    const script = casePath('verify-s3-traversal', 'run.mjs')
    const run = spawnSync(process.execPath, [script, binPath], { cwd: tempDir(), encoding: 'utf8', timeout: 120_000 })
    expect(run.stdout + run.stderr).toContain('ok: nothing outside (exit 1)')
  })

  it('vtp gc follows no link out of a run', async () => {
    const dir = tempDir()
    writeFileSync(path.join(dir, 'a.png'), await encodedPicture(1, 24, 20, 'png'))
    const script = casePath('gc-links', 'run.sh')
    const env = { ...process.env, TMPDIR: dir }
    const run = spawnSync('bash', [script, binPath, dir], { encoding: 'utf8', timeout: 120_000, env })
    expect(run.stdout).toMatch(/^ok$/m)
  })

  it('two evaluations on one --out: what ends with 0 prints the right numbers', async () => {
    const dir = tempDir()
    mkdirSync(path.join(dir, 'in'))
    for (let i = 0; i < 12; i++) writeFileSync(path.join(dir, 'in', `${i}.png`), await encodedPicture(i, 24, 20, 'png'))
    const script = casePath('recon-two', 'run.sh')
    const env = { ...process.env, TMPDIR: dir }
    const run = spawnSync('bash', [script, binPath, path.join(dir, 'in')], { encoding: 'utf8', timeout: 240_000, env })
    const work = readdirSync(dir).find((name) => existsSync(path.join(dir, name, 'alone.json')))!
    const numbers = (name: string): unknown => {
      const text = readFileSync(path.join(dir, work, name), 'utf8')
      const { images, psnr, ssim } = JSON.parse(text) as { images: number; psnr: number; ssim: number }
      return { images, psnr, ssim }
    }
    const right = numbers('alone.json')
    expect(right).toMatchObject({ images: 12 })
    const exits = [...run.stdout.matchAll(/: exit (\d)/g)].map(([, code]) => code)
    expect(exits[2]).toBe('0')
    expect(exits.slice(0, 2)).toContain('0')
    for (const [i, code] of exits.entries()) if (code === '0') expect(numbers(`${i + 1}.json`)).toEqual(right)
  })

  it('global headers of a tar cost linear time', async () => {
    const dir = tempDir()
    const file = path.join(dir, 't.tar')
    const made = spawnSync('python3', [casePath('tar-global-pax', 'make.py'), file], { encoding: 'utf8' })
    expect(made.stderr).toBe('')
    const args = ['encode', file, '--out', path.join(dir, 'out'), '--max-bad', '1']
    const run = await runCli(args, { timeoutMs: 120_000 })
    expect(run.signal).toBeNull()
    expect(run.stderr).not.toContain('    at ')
  })
})
