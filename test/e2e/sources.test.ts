/** What people really feed it, through the built program: a table of sources, and what must come of each. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { gzipSync } from 'node:zlib'
import tar from 'tar-stream'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openShard } from '../../src/io/shards/index.js'
import { type CliResult, repoRoot, runCli } from '../support/cli.js'
import { encodedPicture } from '../support/images.js'
import { readRejects, readRows } from '../support/parts.js'

const QUICK = ['--image-size', '16', '--transform', 'resize(16,16,bilinear)', '--workers', '1']
const dir = mkdtempSync(path.join(tmpdir(), 'vtp sources '))
const jpegs: Buffer[] = []
afterAll(() => rmSync(dir, { recursive: true, force: true }))
beforeAll(async () => {
  for (let i = 0; i < 4; i++) jpegs.push(await encodedPicture(i, 24, 20, 'jpeg'))
  for (const [i, bytes] of jpegs.entries()) place(`pics/${i}.jpg`, bytes)
})

function place(name: string, content: string | Buffer): string {
  const file = path.join(dir, name)
  mkdirSync(path.dirname(file), { recursive: true })
  writeFileSync(file, content)
  return file
}

async function tarOf(members: [name: string, content: string | Buffer][]): Promise<Buffer> {
  const pack = tar.pack()
  for (const [name, content] of members) pack.entry({ name }, content)
  pack.finalize()
  const chunks: Buffer[] = []
  for await (const chunk of pack as AsyncIterable<Buffer>) chunks.push(chunk)
  return Buffer.concat(chunks)
}

let runs = 0
async function encode(source: string, ...more: string[]): Promise<{ run: CliResult; out: string; json: Json }> {
  const out = path.join(dir, `out ${runs++}`)
  const outputs = more.includes('--outputs') ? [] : ['--outputs', 'pixels']
  const run = await runCli(['encode', source, '--out', out, '--json', ...QUICK, ...outputs, ...more])
  return { run, out, json: JSON.parse(run.stdout) as Json }
}

interface Json {
  images: number
  rejects: number
  classes: number | null
  passedOver: { count: number; examples: string[] }
  notes: { code: string; count: number; message: string }[]
}

const labelsOf = async (out: string): Promise<(number | null)[]> => (await readRows(out)).map(({ label }) => label)

interface Case {
  name: string
  make: () => string | Promise<string>
  flags?: string[]
  labels: (number | null)[]
  captions?: (string | null)[]
  classes?: string[]
  passedOver?: number
  notes?: string[]
}

const lines = (...records: string[]): string => `${records.join('\n')}\n`

function makeClasses(): string {
  place('classes/ant/a.jpg', jpegs[0]!)
  place('classes/ant/a.txt', 'an ant')
  place('classes/cat/b.jpg', jpegs[1]!)
  place('classes/cat/c.jfif', jpegs[2]!)
  mkdirSync(path.join(dir, 'classes', 'bee'), { recursive: true })
  return path.join(dir, 'classes')
}

const CASES: Case[] = [
  {
    name: 'a tar from macOS',
    make: async () =>
      place(
        'macos.tar',
        await tarOf(
          [0, 1].flatMap((i) => [
            [`./._${i}.jpg`, 'x'],
            [`./${i}.jpg`, jpegs[i]!],
            [`./._${i}.cls`, 'x'],
            [`./${i}.cls`, String(i)],
          ]),
        ),
      ),
    labels: [0, 1],
    passedOver: 4,
  },
  {
    name: 'a gzipped tar of image and depth, with labels that are names',
    make: async () =>
      place(
        'pair.tar.gz',
        gzipSync(
          await tarOf(
            [0, 1].flatMap((i) => [
              [`${i}.depth.png`, 'x'],
              [`${i}.jpg`, jpegs[i]!],
              [`${i}.json`, `{"label": "${['dog', 'cat'][i]}", "caption": "c", "score": NaN}`],
            ]),
          ),
        ),
      ),
    labels: [1, 0],
    captions: ['c', 'c'],
    classes: ['cat', 'dog'],
    passedOver: 2,
  },
  {
    name: 'joined tars',
    make: async () =>
      place('joined.tar', Buffer.concat([await tarOf([['0.jpg', jpegs[0]!]]), await tarOf([['1.jpg', jpegs[1]!]])])),
    labels: [null, null],
  },
  {
    name: 'JSON lines with missing values, floats and a wide label',
    make: () =>
      place(
        'a.jsonl',
        lines(
          '\uFEFF{"uri": "pics/0.jpg", "label": 3.0, "caption": "a"}',
          '{"uri": "pics/1.jpg", "label": null, "caption": null, "key": 7}',
          '{"uri": "pics/2.jpg", "label": 3.5, "x": Infinity}',
          '{"uri": "pics/3.jpg", "label": 9007199254740993, "caption": ["b", "c"]}',
        ),
      ),
    labels: [3, null, null, null],
    captions: ['a', null, null, 'b'],
    notes: ['label_kind', 'label_range', 'caption_list'],
  },
  {
    name: 'a list that PowerShell has written',
    make: () => place('utf16.txt', Buffer.from('\uFEFFpics\\0.jpg\r\npics/1.jpg\r\n'.replace('\\', '/'), 'utf16le')),
    labels: [null, null],
  },
  {
    name: 'a table with names of its own',
    make: () => place('a.csv', 'file,breed,note\n"pics/0.jpg",pug,"one, two"\npics/1.jpg,husky,\n'),
    flags: ['--image-column', 'file', '--label-column', 'breed', '--caption-column', 'note'],
    labels: [1, 0],
    captions: ['one, two', null],
    classes: ['husky', 'pug'],
  },
  {
    name: 'class folders, one of them empty',
    make: makeClasses,
    labels: [0, 2],
    captions: ['an ant', null],
    classes: ['ant', 'bee', 'cat'],
    passedOver: 1,
    notes: ['empty_class'],
  },
  {
    name: 'class folders with an image beside them',
    make: () => {
      place('stray/ant/a.jpg', jpegs[0]!)
      place('stray/cat/b.jpg', jpegs[1]!)
      place('stray/cover.jpg', jpegs[2]!)
      return path.join(dir, 'stray')
    },
    labels: [null, null, null],
    notes: ['labels_lost'],
  },
  {
    name: 'class folders of PPM and PGM files',
    make: () => {
      place('ppm/a/x.ppm', Buffer.concat([Buffer.from('P6\n4 4\n255\n'), Buffer.alloc(48, 9)]))
      place('ppm/b/x.pgm', Buffer.concat([Buffer.from('P5\n4 4\n255\n'), Buffer.alloc(16, 9)]))
      return path.join(dir, 'ppm')
    },
    labels: [0, 1],
    classes: ['a', 'b'],
  },
  { name: 'one image', make: () => path.join(dir, 'pics', '2.jpg'), labels: [null] },
  {
    name: 'a folder, limited',
    make: () => path.join(dir, 'pics'),
    flags: ['--limit', '3'],
    labels: [null, null, null],
  },
  {
    name: 'Parquet of Hugging Face datasets',
    make: () => path.join(repoRoot, 'fixtures', 'tables', 'hub.parquet'),
    labels: [2, 0, 1, null],
    captions: ['one', null, 'three', 'four'],
    classes: ['cat', 'dog', 'emu'],
    notes: ['fields'],
  },
  {
    name: 'Parquet with paths',
    make: () => path.join(repoRoot, 'fixtures', 'tables', 'paths.parquet'),
    flags: ['--limit', '3'],
    labels: [null, null, null],
  },
  {
    name: 'a folder of datasets.save_to_disk',
    make: () => path.join(repoRoot, 'fixtures', 'tables', 'saved'),
    labels: [2, 0, 1, null],
    captions: ['one', null, 'three', 'four'],
    classes: ['cat', 'dog', 'emu'],
    notes: ['fields'],
  },
]

describe('sources as the field has them', () => {
  it.each(CASES)('$name', async ({ make, flags = [], labels, captions, classes, passedOver = 0, notes = [] }) => {
    const { run, out, json } = await encode(await make(), ...flags)
    expect(run.stderr + run.code).toMatch(/0$/)
    const rows = await readRows(out)
    expect(rows.map(({ label }) => label)).toEqual(labels)
    expect(new Set(rows.map(({ key }) => key)).size).toBe(labels.length)
    if (captions) expect(rows.map(({ caption }) => caption)).toEqual(captions)
    expect(readRejects(out)).toEqual([])
    expect(json).toMatchObject({ images: labels.length, rejects: 0, classes: classes?.length ?? null })
    expect(json.passedOver.count).toBe(passedOver)
    for (const code of notes) expect(json.notes.map((note) => note.code)).toContain(code)
    // What is told to programs is told to people, once.
    if (passedOver > 0) expect(run.stderr.split('passed over').length).toBe(2)
    for (const { message } of json.notes) expect(run.stderr.split(message).length).toBe(2)
    const manifest = JSON.parse(readFileSync(path.join(out, '_manifest.json'), 'utf8')) as { classes: string[] | null }
    expect(manifest.classes).toEqual(classes ?? null)
    if (classes) expect(run.stderr).toContain(`of ${classes.length} classes`)
  })

  it('class names are in the shards of every format', async () => {
    const source = makeClasses()
    for (const format of ['arrow', 'parquet']) {
      const { out } = await encode(source, '--format', format)
      const shard = await openShard(path.join(out, `part-00000.${format}`))
      const { info } = JSON.parse(shard.provenance.huggingface!) as {
        info: { features: { label: { names: string[] } } }
      }
      expect(info.features.label.names).toEqual(['ant', 'bee', 'cat'])
      await shard.close()
      // Such shards are a source with these classes again.
      const again = await encode(path.join(out, `part-00000.${format}`))
      expect([again.json.classes, await labelsOf(again.out)]).toEqual([3, [0, 2]])
    }
    const { run, out } = await encode(source, '--format', 'safetensors', '--outputs', 'latents')
    expect(run.stderr).toContain('--no-flip')
    const name = readdirSync(out).find((file) => file.endsWith('.safetensors'))!
    const shard = await openShard(path.join(out, name))
    expect(shard.columns.map((column) => column.name).sort()).toEqual(['latents', 'latents_flip'])
    await shard.close()
    const keys = readFileSync(path.join(out, name.replace('.safetensors', '.keys.jsonl')), 'utf8')
    expect(
      keys
        .split('\n')
        .slice(0, 2)
        .map((line) => (JSON.parse(line) as { class: string }).class),
    ).toEqual(['ant', 'cat'])
    const plain = await encode(source, '--format', 'safetensors', '--outputs', 'latents', '--no-flip')
    expect(plain.run.stderr).not.toContain('--no-flip')
  })

  it('--metadata keeps the other fields as one column, in every format, and another run is refused there', async () => {
    const source = place('meta.jsonl', lines('{"uri": "pics/0.jpg", "w": 5, "n": null}', '{"uri": "pics/1.jpg"}'))
    for (const [format, name] of [
      ['arrow', 'part-00000.arrow'],
      ['parquet', 'part-00000.parquet'],
      ['safetensors', 'latents_rank00_shard000.safetensors'],
    ] as const) {
      const { out } = await encode(source, '--metadata', '--format', format, '--outputs', 'latents')
      const shard = await openShard(path.join(out, name))
      const rows = []
      for await (const batch of shard.read([], 10)) rows.push(...batch.rows)
      await shard.close()
      expect(rows.map(({ metadata }) => metadata ?? null)).toEqual(['{"w":5}', null])
      const without = await runCli([
        'encode',
        source,
        '--out',
        out,
        ...QUICK,
        '--format',
        format,
        '--outputs',
        'latents',
      ])
      expect([without.code, without.stderr]).toEqual([2, expect.stringContaining('metadata')])
    }
  })

  it.each([
    ['rows that a Parquet file cannot hold', () => rowsWithoutBytes(), 'bad_parquet'],
    [
      'several columns that may be the image',
      () => path.join(repoRoot, 'fixtures', 'tables', 'two.parquet'),
      'many_image_columns',
    ],
    ['a table without images', () => place('none.csv', 'a,b\n1,2\n'), 'no_image_column'],
    [
      'labels of two kinds',
      () =>
        place(
          'mixed.jsonl',
          lines('{"uri": "a", "label": "x"}', '{"uri": "b", "label": "y"}', '{"uri": "c", "label": 1}'),
        ),
      'mixed_labels',
    ],
  ])('%s: an error before anything is written', async (_, make, code) => {
    const { run, out, json } = await encode(make())
    expect((json as unknown as { error: { code: string } }).error.code).toBe(code)
    expect([2, 3]).toContain(run.code)
    expect(run.stderr).not.toContain('    at ')
    expect(() => readFileSync(path.join(out, '_vtp', 'plan.json'))).toThrow()
  })
})

/** The fixture, whose footer claims more rows than it has. */
function rowsWithoutBytes(): string {
  const bytes = readFileSync(path.join(repoRoot, 'fixtures', 'tables', 'paths.parquet'))
  // num_rows of the row group and of the file are the varints of 4 (zigzag 8) behind their field headers.
  const footer = bytes.subarray(bytes.length - 8 - bytes.readUInt32LE(bytes.length - 8), bytes.length - 8)
  const grown: number[] = []
  for (const [i, byte] of footer.entries()) {
    const isRows = byte === 8 && footer[i - 1] === 0x26
    grown.push(...(isRows ? [0x80, 0x80, 0x80, 0x80, 0x40] : [byte]))
  }
  const length = Buffer.alloc(4)
  length.writeUInt32LE(grown.length)
  return place(
    'rows.parquet',
    Buffer.concat([
      bytes.subarray(0, bytes.length - footer.length - 8),
      Buffer.from(grown),
      length,
      Buffer.from('PAR1'),
    ]),
  )
}
