/** `vtp encode` as users run it: the built program, real files, real processes. */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { repoRoot, runCli, tempDir } from '../support/cli.js'
import { place, writePictures } from '../support/images.js'
import { outputHashes, readRejects, readRows, readTensor } from '../support/parts.js'

const fixtures = path.join(repoRoot, 'fixtures')
let photos: string
let names: string[]
const shared = mkdtempSync(path.join(tmpdir(), 'vtp e2e '))
afterAll(() => rmSync(shared, { recursive: true, force: true }))

beforeAll(async () => {
  photos = path.join(shared, 'photos')
  names = await writePictures(photos, 40)
})

describe('a folder of mixed images', () => {
  it('becomes rows in listing order and rejects with reasons, and a second run has nothing to do', async () => {
    const dir = tempDir()
    const source = path.join(dir, 'my photos')
    await writePictures(source, 330)
    place(path.join(fixtures, 'broken', 'truncated.jpg'), path.join(source, 'a', 'bad one.jpg'))
    place(path.join(fixtures, 'broken', 'empty.jpg'), path.join(source, 'b', 'bad two.jpg'))
    place(path.join(fixtures, 'broken', 'not an image.jpg'), path.join(source, 'c', 'bad three.jpg'))
    const out = path.join(dir, 'out')
    const run = await runCli(['encode', source, '--out', out, '--json', '--shard-rows', '100'])
    expect(run.stderr).not.toContain('    at ')
    expect(run.code).toBe(0)
    expect(JSON.parse(run.stdout)).toMatchObject({
      images: 330,
      rejects: 3,
      units: 4,
      device: 'cpu',
      precision: 'fp32',
      out,
    })

    const rows = await readRows(out)
    const expected = ['a', 'b', 'c'].flatMap((label) =>
      readdirSync(path.join(source, label))
        .sort()
        .map((name) => `${label}/${name}`),
    )
    expect(rows.map((row) => row.key)).toEqual(expected.filter((key) => !key.includes('bad ')))
    expect(rows.every((row) => row.label === 'abc'.indexOf(row.key[0]!))).toBe(true)
    expect(readRejects(out).map(({ key, code }) => [key, code])).toEqual([
      ['a/bad one.jpg', 'corrupt'],
      ['b/bad two.jpg', 'empty'],
      ['c/bad three.jpg', 'unsupported_format'],
    ])

    const before = outputHashes(out)
    const again = await runCli(['encode', source, '--out', out, '--shard-rows', '100'])
    expect(again.code).toBe(0)
    expect(again.stderr).toContain('Nothing is left to do')
    expect(outputHashes(out)).toEqual(before)
  })

  it('gives the same bytes whatever the batch size, threads, and number of workers', async () => {
    const dir = tempDir()
    const args = (out: string): string[] => [
      'encode',
      photos,
      '--out',
      path.join(dir, out),
      '--shard-rows',
      '7',
      '--outputs',
      'latents,clip',
    ]
    expect((await runCli(args('one'))).code).toBe(0)
    expect((await runCli([...args('small'), '--batch-size', '3', '--workers', '1'])).code).toBe(0)
    const workers = [0, 1, 2].map((index) =>
      runCli([...args('three'), '--worker-index', String(index), '--worker-count', '3']),
    )
    for (const result of await Promise.all(workers)) expect(result.stderr + result.code).toMatch(/0$/)
    const one = outputHashes(path.join(dir, 'one'))
    expect(Object.keys(one).filter((name) => name.startsWith('part-'))).toHaveLength(6)
    expect(outputHashes(path.join(dir, 'small'))).toEqual(one)
    expect(outputHashes(path.join(dir, 'three'))).toEqual(one)
  })

  it('is encoded for LightningDiT with mirrored latents, labels and statistics', async () => {
    const out = path.join(tempDir(), 'out')
    const run = await runCli([
      'encode',
      photos,
      '--out',
      out,
      '--format',
      'safetensors',
      '--flip',
      '--transform',
      'adm-crop(256)',
    ])
    expect(run.code).toBe(0)
    expect(readdirSync(out).sort()).toEqual([
      '_manifest.json',
      '_vtp',
      'latents_rank00_shard000.keys.jsonl',
      'latents_rank00_shard000.safetensors',
      'latents_stats.pt',
    ])
    const latents = await readTensor(out, 'latents')
    const flipped = await readTensor(out, 'latents_flip')
    expect([...latents.keys()]).toEqual(names)
    expect(flipped.get(names[0]!)).not.toEqual(latents.get(names[0]!))
    const manifest = JSON.parse(readFileSync(path.join(out, '_manifest.json'), 'utf8'))
    expect(manifest).toMatchObject({ rows: 40, classes: ['a', 'b', 'c'] })
    const all = [...latents.values()].flatMap((values) => values.slice(0, 256))
    const mean = all.reduce((a, b) => a + b, 0) / all.length
    expect(manifest.statistics.latents.mean[0]).toBeCloseTo(mean, 5)
  })

  it('writes only preprocessed pixels without a pass of the model', async () => {
    const out = path.join(tempDir(), 'out')
    const run = await runCli(['encode', photos, '--out', out, '--outputs', 'pixels', '--transform', 'resize(8,8,box)'])
    expect(run.code).toBe(0)
    const pixels = await readTensor(out, 'pixels')
    expect(pixels.get(names[0]!)).toHaveLength(8 * 8 * 3)
  })
})

describe('other sources give the same latents', () => {
  it('lists, tar shards and Parquet files', async () => {
    const dir = tempDir()
    const some = names.slice(0, 9)
    const folder = path.join(dir, 'folder')
    for (const name of some) place(path.join(photos, name), path.join(folder, name))
    writeFileSync(path.join(dir, 'list.txt'), `${some.map((name) => `folder/${name}`).join('\n')}\n`)
    const lines = some.map((name, i) => JSON.stringify({ uri: `folder/${name}`, label: i, caption: `picture ${i}` }))
    writeFileSync(path.join(dir, 'list.jsonl'), `${lines.join('\r\n')}\r\nnot json\n{"label": 3}\n`)
    const { pack } = await import('tar-stream')
    for (const half of [0, 1]) {
      const tar = pack()
      some.forEach((name, i) => {
        if (i % 2 !== half) return
        tar.entry({ name: `${i}.${name.split('.').pop()}` }, readFileSync(path.join(folder, name)))
        tar.entry({ name: `${i}.cls` }, String(i))
        tar.entry({ name: `${i}.txt` }, `picture ${i}`)
      })
      tar.finalize()
      const chunks: Buffer[] = []
      for await (const chunk of tar as AsyncIterable<Buffer>) chunks.push(chunk)
      writeFileSync(path.join(dir, `shard-${half}.tar`), Buffer.concat(chunks))
    }
    const { parquetWriteBuffer } = await import('hyparquet-writer')
    const bytes = some.map((name) => new Uint8Array(readFileSync(path.join(folder, name))))
    const parquet = parquetWriteBuffer({
      columnData: [
        { name: 'image', data: bytes, type: 'BYTE_ARRAY' },
        { name: 'label', data: some.map((_, i) => i), type: 'INT32' },
      ],
    })
    writeFileSync(path.join(dir, 'data.parquet'), Buffer.from(parquet))

    const sources = {
      folder,
      txt: path.join(dir, 'list.txt'),
      jsonl: path.join(dir, 'list.jsonl'),
      tar: path.join(dir, 'shard-{0..1}.tar'),
      parquet: path.join(dir, 'data.parquet'),
    }
    const values: Record<string, string[]> = {}
    for (const [kind, source] of Object.entries(sources)) {
      const out = path.join(dir, `out ${kind}`)
      const run = await runCli(['encode', source, '--out', out, '--max-bad', '30%'])
      expect(`${kind} ${run.code} ${run.code === 0 ? '' : run.stderr}`).toBe(`${kind} 0 `)
      values[kind] = [...(await readTensor(out, 'latents')).values()].map((v) => JSON.stringify(v.slice(0, 50)))
    }
    expect(values.txt).toEqual(values.folder)
    expect(values.jsonl).toEqual(values.folder)
    expect(values.parquet).toEqual(values.folder)
    const evenFirst = [0, 2, 4, 6, 8, 1, 3, 5, 7].map((i) => values.folder![i])
    expect(values.tar).toEqual(evenFirst)
    expect(readRejects(path.join(dir, 'out jsonl')).map((r) => r.code)).toEqual(['bad_entry', 'bad_entry'])
    const rows = await readRows(path.join(dir, 'out tar'))
    expect(rows.map((r) => [r.label, r.caption])).toEqual([0, 2, 4, 6, 8, 1, 3, 5, 7].map((i) => [i, `picture ${i}`]))
  })

  it('standard input is a list', async () => {
    const out = path.join(tempDir(), 'out')
    const run = await runCli(['encode', '-', '--out', out], { cwd: photos, input: `${names[3]}\n${names[1]}\n` })
    expect(run.code).toBe(0)
    expect((await readRows(out)).map((row) => row.key)).toEqual([names[3], names[1]])
  })
})

describe('names that break other tools', () => {
  it('duplicate names in two folders, newlines, broken UTF-8, 255 bytes and links are all rows', async () => {
    const dir = tempDir()
    const image = path.join(fixtures, 'images', 'things', 'clock.gif')
    const source = path.join(dir, 'images')
    for (const name of [
      'x/same.gif',
      'y/same.gif',
      'x/line\nbreak.gif',
      `y/${'ä'.repeat(125)}a.gif`,
      'x/ spaces  .gif',
    ])
      place(image, path.join(source, name))
    const broken = Buffer.concat([
      Buffer.from(path.join(source, 'y') + path.sep),
      Buffer.from([0x62, 0xff, 0xfe]),
      Buffer.from('.gif'),
    ])
    copyFileSync(image, broken)
    mkdirSync(path.join(source, 'x', 'folder.jpg'))
    place(image, path.join(source, 'x', 'folder.jpg', 'inside.gif'))
    symlinkSync('same.gif', path.join(source, 'x', 'link.gif'))
    symlinkSync('..', path.join(source, 'x', 'loop'))
    const out = path.join(dir, 'out')
    const run = await runCli(['encode', source, '--out', out])
    expect(run.code).toBe(0)
    const keys = (await readRows(out)).map((row) => row.key)
    expect(keys).toEqual([
      'x/ spaces  .gif',
      'x/line\nbreak.gif',
      'x/link.gif',
      'x/same.gif',
      'x/folder.jpg/inside.gif',
      'y/b\\xff\\xfe.gif',
      'y/same.gif',
      `y/${'ä'.repeat(125)}a.gif`,
    ])
    expect(new Set([...(await readTensor(out, 'latents')).values()].map(String)).size).toBe(1)
  })
})

describe('wrong usage says what to do and writes nothing', () => {
  const nano = path.join(repoRoot, 'models', 'vtp-nano')
  const cases: [string, (dir: string) => string[], number, RegExp][] = [
    [
      'no image in the folder',
      (dir) => {
        mkdirSync(path.join(dir, 'none'))
        return ['encode', path.join(dir, 'none'), '--out', path.join(dir, 'out')]
      },
      2,
      /No image found/,
    ],
    [
      'a source that does not exist',
      (dir) => ['encode', path.join(dir, 'nope'), '--out', path.join(dir, 'out')],
      2,
      /does not exist/,
    ],
    [
      'the output inside the source',
      () => ['encode', photos, '--out', path.join(photos, 'out')],
      2,
      /lies inside the source/,
    ],
    [
      'an unknown output',
      (dir) => ['encode', photos, '--out', path.join(dir, 'out'), '--outputs', 'latent'],
      2,
      /unknown output "latent"[\s\S]*latents/,
    ],
    [
      'an unknown transform',
      (dir) => ['encode', photos, '--out', path.join(dir, 'out'), '--transform', 'resise(256)'],
      2,
      /resise/,
    ],
    [
      'a transform of unknown size',
      (dir) => ['encode', photos, '--out', path.join(dir, 'out'), '--transform', 'resize(256)'],
      2,
      /depends on the image[\s\S]*center-crop/,
    ],
    [
      'an image size that the patch does not divide',
      (dir) => ['encode', photos, '--out', path.join(dir, 'out'), '--image-size', '250'],
      2,
      /patch size 16[\s\S]*256×256/,
    ],
    [
      'layers that the model does not have',
      (dir) => ['encode', photos, '--out', path.join(dir, 'out'), '--outputs', 'layers', '--layers', '9'],
      2,
      /6 blocks/,
    ],
    [
      'layers without --layers',
      (dir) => ['encode', photos, '--out', path.join(dir, 'out'), '--outputs', 'layers'],
      2,
      /needs --layers/,
    ],
    [
      'safetensors without latents',
      (dir) => ['encode', photos, '--out', path.join(dir, 'out'), '--outputs', 'clip', '--format', 'safetensors'],
      2,
      /needs the output "latents"/,
    ],
    [
      'a model that does not exist',
      (dir) => ['encode', photos, '--out', path.join(dir, 'out'), '--model', path.join(dir, 'nope')],
      2,
      /no model at/,
    ],
    [
      'a model folder without weights',
      (dir) => {
        place(path.join(nano, 'config.json'), path.join(dir, 'm', 'config.json'))
        return ['encode', photos, '--out', path.join(dir, 'out'), '--model', path.join(dir, 'm')]
      },
      2,
      /has no model.safetensors/,
    ],
    [
      'a model of another architecture',
      (dir) => {
        mkdirSync(path.join(dir, 'm'))
        writeFileSync(path.join(dir, 'm', 'config.json'), '{"model_type":"bert"}')
        return ['encode', photos, '--out', path.join(dir, 'out'), '--model', path.join(dir, 'm')]
      },
      2,
      /another architecture[\s\S]*bert/,
    ],
    [
      'a worker index beyond the count',
      (dir) => ['encode', photos, '--out', path.join(dir, 'out'), '--worker-index', '4', '--worker-count', '4'],
      2,
      /not below/,
    ],
    [
      'an s3 address without a bucket',
      (dir) => ['encode', 's3:///x', '--out', path.join(dir, 'out')],
      2,
      /names no bucket/,
    ],
    [
      'a GPU that is not there',
      (dir) => ['encode', photos, '--out', path.join(dir, 'out'), '--require-gpu'],
      3,
      /vtp doctor/,
    ],
    [
      'an output path that is a file',
      (dir) => {
        writeFileSync(path.join(dir, 'out'), '')
        return ['encode', photos, '--out', path.join(dir, 'out', 'deeper')]
      },
      3,
      /a file is in its way/,
    ],
  ]
  it.each(cases)('%s', async (_, args, code, message) => {
    const dir = tempDir()
    const result = await runCli(args(dir))
    expect(result.stderr).toMatch(message)
    expect(result.stderr).toContain('Try: ')
    expect(result.stderr).not.toMatch(/\n\s+at /)
    expect(result.code).toBe(code)
    expect(existsSync(path.join(dir, 'out', '_vtp', 'plan.json'))).toBe(false)
  })

  it('batches whose pixels no memory could hold are no bug of the program', async () => {
    const out = path.join(tempDir(), 'out')
    const { code, stderr } = await runCli(['encode', photos, '--out', out, '--batch-size', '100000000'])
    expect(code).toBe(3)
    expect(stderr).toMatch(/batch of 100000000 images are 19661 GB[\s\S]*smaller --batch-size/)
  })

  it('truncated weights and headers that lie are named', async () => {
    const dir = tempDir()
    const weights = readFileSync(path.join(nano, 'model.safetensors'))
    const lying = Buffer.from(weights.subarray(0, 100_000))
    lying.writeBigUInt64LE(2n ** 60n)
    for (const [name, bytes] of [
      ['cut', weights.subarray(0, 1_000_000)],
      ['tiny', weights.subarray(0, 5)],
      ['lying', lying],
    ] as const) {
      const model = path.join(dir, name)
      place(path.join(nano, 'config.json'), path.join(model, 'config.json'))
      writeFileSync(path.join(model, 'model.safetensors'), bytes)
      const result = await runCli(['encode', photos, '--out', path.join(dir, 'out'), '--model', model])
      expect(result.stderr).toMatch(/not a valid safetensors file/)
      expect(result.code).toBe(3)
    }
  })

  it.each(['arrow', 'parquet'])(
    'pixels that a run has written (%s) give the same rows as the images',
    async (format) => {
      const dir = tempDir()
      const [pixels, direct, reused] = ['pixels', 'direct', 'reused'].map((name) => path.join(dir, name))
      const wanted = ['--outputs', 'latents,clip', '--shard-rows', '15']
      const first = ['--outputs', 'pixels', '--shard-rows', '15', '--format', format, '--transform', 'adm-crop(128)']
      expect((await runCli(['encode', photos, '--out', pixels!, ...first])).code).toBe(0)
      expect((await runCli(['encode', photos, '--out', direct!, ...wanted, '--transform', 'adm-crop(128)'])).code).toBe(
        0,
      )
      const again = await runCli(['encode', pixels!, '--out', reused!, ...wanted, '--json'])
      expect(JSON.parse(again.stdout)).toMatchObject({ images: 40, rejects: 0, units: 3 })
      expect(await readRows(reused!)).toEqual(await readRows(direct!))
      for (const column of ['latents', 'clip'])
        expect(await readTensor(reused!, column)).toEqual(await readTensor(direct!, column))
      const without = await runCli(['encode', direct!, '--out', path.join(dir, 'none')])
      expect([without.code, without.stderr]).toEqual([2, expect.stringContaining('no column "pixels"')])
    },
  )

  it('int8 is asked for by name, is another plan than fp32, and does not depend on the batch size', async () => {
    const dir = tempDir()
    const args = (out: string, ...rest: string[]): string[] => ['encode', photos, '--out', path.join(dir, out), ...rest]
    const first = await runCli(args('int8', '--precision', 'int8', '--json'))
    expect(JSON.parse(first.stdout)).toMatchObject({ images: 40, device: 'cpu', precision: 'int8' })
    expect((await runCli(args('small', '--precision', 'int8', '--batch-size', '3'))).code).toBe(0)
    expect(outputHashes(path.join(dir, 'small'))).toEqual(outputHashes(path.join(dir, 'int8')))
    const other = await runCli(args('int8'))
    expect(other.code).toBe(2)
    expect(other.stderr).toContain('precision: "int8" there, "fp32" now')
    const wrong = await runCli(args('fp16', '--precision', 'fp16'))
    expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringContaining('not offered on the device cpu')])
  })

  it('another plan in the same folder is refused with what differs, and --overwrite starts anew', async () => {
    const dir = tempDir()
    const out = path.join(dir, 'out')
    expect((await runCli(['encode', photos, '--out', out])).code).toBe(0)
    const before = outputHashes(out)
    const other = await runCli(['encode', photos, '--out', out, '--transform', 'adm-crop(256)', '--flip'])
    expect(other.code).toBe(2)
    expect(other.stderr).toMatch(/transform: "resize\(256,256,bilinear\)" there, "adm-crop\(256\)" now/)
    expect(other.stderr).toMatch(/flip: false there, true now/)
    expect(outputHashes(out)).toEqual(before)
    expect((await runCli(['encode', photos, '--out', out, '--format', 'parquet', '--overwrite'])).code).toBe(0)
    expect(readdirSync(out).sort()).toEqual(['.huggingface.yaml', '_manifest.json', '_vtp', 'part-00000.parquet'])
  })

  it('a committed part that is gone is missed, not passed over', async () => {
    const out = path.join(tempDir(), 'out')
    const args = ['encode', photos, '--out', out, '--outputs', 'pixels', '--shard-rows', '20']
    expect((await runCli(args)).code).toBe(0)
    rmSync(path.join(out, 'part-00001.arrow'))
    const again = await runCli(args)
    expect(again.stderr).toMatch(/part-00001\.arrow .* is committed, but missing[\s\S]*vtp verify/)
    expect(again.code).toBe(1)
  })

  it('a dry run tells the plan and writes nothing', async () => {
    const out = path.join(tempDir(), 'out')
    const result = await runCli(['encode', photos, '--out', out, '--dry-run', '--json', '--shard-rows', '10'])
    expect(result.code).toBe(0)
    const plan = JSON.parse(result.stdout)
    expect(plan).toMatchObject({ images: 40, units: 4, bytesPerImage: 64 * 16 * 16 * 2 })
    expect(plan.imagesPerSecond).toBeGreaterThan(0)
    expect(existsSync(out)).toBe(false)
  })
})
