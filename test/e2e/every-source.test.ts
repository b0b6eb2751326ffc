/** Every command that takes SOURCE, on every kind of source: the same images give the same numbers everywhere. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import sharp from 'sharp'
import { pack } from 'tar-stream'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { writeNpz } from '../../src/io/numpy/npz-writer.js'
import { runCli } from '../support/cli.js'
import { hashWeightsFolder } from '../support/hash-weights.js'
import { picture, place } from '../support/images.js'
import { readTensor } from '../support/parts.js'
import { runHere } from '../support/run-here.js'
import { BUILD_TIMEOUT_MS, type Gateway, startGateway } from '../support/s3-gateway.js'

const SIZE = 32
const CLASSES = ['cats', 'dogs']
const PER_CLASS = 3
const dir = mkdtempSync(path.join(tmpdir(), 'vtp sources '))
const inDir = (name: string): string => path.join(dir, name)
let gateway: Gateway

/** How a command is given a kind of source. */
interface Kind {
  spec: string
  stdin?: string
  /** Whether its images have classes. */
  labels: boolean
}
const kinds = new Map<string, Kind>()

beforeAll(async () => {
  gateway = await startGateway()
  for (const [name, value] of Object.entries(gateway.env)) vi.stubEnv(name, value)
  const bucket = path.join(gateway.folder, 'bucket')
  const tar = pack()
  const lines: { uri: string; label: number }[] = []
  const rows: { image: Uint8Array; label: number }[] = []
  const pixels: Uint8Array[] = []
  for (const [label, name] of CLASSES.entries()) {
    mkdirSync(inDir(`photos/${name}`), { recursive: true })
    for (let i = 0; i < PER_CLASS; i++) {
      const raw = picture(label * PER_CLASS + i, SIZE, SIZE)
      const png = await sharp(raw, { raw: { width: SIZE, height: SIZE, channels: 3 } })
        .png()
        .toBuffer()
      const file = inDir(`photos/${name}/${i}.png`)
      writeFileSync(file, png)
      place(file, path.join(bucket, 'photos', name, `${i}.png`))
      tar.entry({ name: `${label}-${i}.png` }, png)
      tar.entry({ name: `${label}-${i}.cls` }, String(label))
      lines.push({ uri: file, label })
      rows.push({ image: png, label })
      pixels.push(raw)
    }
  }
  tar.finalize()
  const chunks: Buffer[] = []
  for await (const chunk of tar as AsyncIterable<Buffer>) chunks.push(chunk)
  writeFileSync(inDir('photos.tar'), Buffer.concat(chunks))
  const { parquetWriteBuffer } = await import('hyparquet-writer')
  const columnData = [
    { name: 'image', type: 'BYTE_ARRAY' as const, data: rows.map(({ image }) => image) },
    { name: 'label', type: 'INT32' as const, data: rows.map(({ label }) => label) },
  ]
  writeFileSync(inDir('photos.parquet'), Buffer.from(parquetWriteBuffer({ columnData })))
  const jsonl = lines.map((line) => `${JSON.stringify(line)}\n`).join('')
  writeFileSync(inDir('photos.jsonl'), jsonl)
  writeFileSync(inDir('photos.txt'), lines.map(({ uri }) => `${uri}\n`).join(''))
  await writeNpz(inDir('photos.npz'), [
    { name: 'arr_0', dtype: '|u1', shape: [pixels.length, SIZE, SIZE, 3], data: pixels },
    {
      name: 'arr_1',
      dtype: '<i8',
      shape: [pixels.length],
      data: [new Uint8Array(BigInt64Array.from(lines, ({ label }) => BigInt(label)).buffer)],
    },
  ])
  for (const format of ['arrow', 'parquet', 'safetensors']) {
    // safetensors hold latents, too.
    const outputs = format === 'safetensors' ? 'latents,pixels' : 'pixels'
    const { code, stderr } = await runCli([
      ...['encode', inDir('photos'), '--out', inDir(`pixels-${format}`), '--outputs', outputs, '--format', format],
      ...['--transform', `resize(${SIZE},${SIZE},bilinear)`, '--image-size', String(SIZE), '--shard-rows', '4'],
    ])
    expect(code, stderr).toBe(0)
  }
  for (const name of readdirSync(inDir('pixels-arrow'), { recursive: true }) as string[])
    if (/\.\w+$/.test(name)) place(inDir(`pixels-arrow/${name}`), path.join(bucket, 'pixels', name))
  for (const name of readdirSync(inDir('pixels-parquet')))
    if (name.endsWith('.parquet')) place(inDir(`pixels-parquet/${name}`), path.join(bucket, 'loose', name))
  const add = (name: string, spec: string, more: Partial<Kind> = {}): void =>
    void kinds.set(name, { spec, labels: true, ...more })
  add('a folder', inDir('photos'))
  add('a list of paths', inDir('photos.txt'), { labels: false })
  add('a list in JSON', inDir('photos.jsonl'))
  add('standard input', '-', { stdin: jsonl })
  add('a tar', inDir('photos.tar'))
  add('a Parquet file', inDir('photos.parquet'))
  add('an .npz', inDir('photos.npz'))
  add('a run with pixels (Arrow)', inDir('pixels-arrow'))
  add('shards with pixels (Parquet)', inDir('pixels-parquet/part-*.parquet'))
  add('a run with pixels (safetensors)', inDir('pixels-safetensors'))
  add('a prefix of a bucket', 's3://bucket/photos')
  add('a run with pixels in a bucket', 's3://bucket/pixels')
  add('shards with pixels in a bucket, by a glob', 's3://bucket/loose/part-*.parquet')
}, BUILD_TIMEOUT_MS)
afterAll(async () => {
  vi.unstubAllEnvs()
  await gateway.close()
  rmSync(dir, { recursive: true, force: true })
})

let runs = 0
async function onEachKind<T>(run: (kind: Kind, out: string) => Promise<T>): Promise<Map<string, T>> {
  const results = new Map<string, T>()
  for (const [name, kind] of kinds) results.set(name, await run(kind, inDir(`out-${runs++}`)))
  return results
}

/** In this process; in one of its own where standard input is read. */
async function vtp({ stdin }: Kind, args: string[], code = 0) {
  const command = [...args, '--json']
  const result = stdin === undefined ? await runHere(command) : await runCli(command, { input: stdin })
  expect(result.code, `${args.join(' ')}\n${result.stderr}${result.stdout}`).toBe(code)
  return JSON.parse(result.stdout)
}

const COUNT = CLASSES.length * PER_CLASS
const small = ['--transform', `resize(${SIZE},${SIZE},bilinear)`]

interface Case {
  command: string
  args(source: string, out: string): string[]
  /** What must be the same for every kind. */
  result(json: Record<string, unknown>, out: string): unknown
  needsLabels?: boolean
}

const names = (): string => {
  const file = inDir('names.txt')
  writeFileSync(file, `${CLASSES.join('\n')}\n`)
  return file
}
const tensor = async (out: string, column: string): Promise<number[][]> => [...(await readTensor(out, column)).values()]

const CASES: Case[] = [
  {
    command: 'encode',
    args: (source, out) => ['encode', source, '--out', out, ...small, '--image-size', String(SIZE)],
    result: async ({ images }, out) => [images, await tensor(out, 'latents')],
  },
  {
    command: 'encode --dry-run',
    args: (source, out) => ['encode', source, '--out', out, ...small, '--image-size', String(SIZE), '--dry-run'],
    result: ({ images }) => images,
  },
  {
    command: 'plan',
    args: (source, out) => ['plan', source, '--out', out, ...small, '--image-size', String(SIZE)],
    result: ({ images }) => images,
  },
  {
    command: 'embed',
    args: (source, out) => ['embed', source, '--out', out, ...small],
    result: async ({ images }, out) => [images, await tensor(out, 'clip')],
  },
  {
    command: 'decode',
    args: (source, out) => ['decode', source, '--out', out, ...small],
    result: ({ images, rejects }, out) => [
      images,
      rejects,
      (readdirSync(out, { recursive: true }) as string[])
        .filter((name) => name.endsWith('.png'))
        .map((name) => readFileSync(path.join(out, name)).toString('base64'))
        .sort(),
    ],
  },
  {
    command: 'classify',
    args: (source) => ['classify', source, '--labels', names()],
    result: ({ images }) => images,
  },
  {
    command: 'model check',
    args: (source) => ['model', 'check', 'nano', source, '--limit', '1'],
    result: ({ images, precisions }) => [images, (precisions as { psnr: number }[]).map(({ psnr }) => psnr)],
  },
  {
    command: 'eval-recon',
    args: (source) => ['eval-recon', source, '--metrics', 'psnr,ssim', ...small],
    result: ({ images, psnr, ssim }) => [images, psnr, ssim],
  },
  {
    command: 'eval',
    args: (source) => ['eval', source, '--metrics', 'psnr'],
    result: ({ models }) => (models as { images: number; psnr: number }[]).map(({ images, psnr }) => [images, psnr]),
  },
  {
    command: 'eval --tasks probe',
    args: (source) => ['eval', source, '--tasks', 'probe', '--probe-train', inDir('photos.tar')],
    result: ({ models }) => probed(models),
    needsLabels: true,
  },
  {
    command: 'eval --probe-train',
    args: (source) => ['eval', inDir('photos.tar'), '--tasks', 'probe', '--probe-train', source],
    result: ({ models }) => probed(models),
    needsLabels: true,
  },
  {
    command: 'eval-zeroshot',
    args: (source) => ['eval-zeroshot', source, '--classnames', names()],
    result: ({ images, top1, confusions }) => [images, top1, confusions],
    needsLabels: true,
  },
  {
    command: 'eval-probe --train',
    args: (source) => ['eval-probe', '--train', source, '--val', inDir('photos.tar'), ...PROBE],
    result: ({ images, losses, accuracies }) => [images, losses, accuracies],
    needsLabels: true,
  },
  {
    command: 'eval-probe --val',
    args: (source) => ['eval-probe', '--train', inDir('photos.tar'), '--val', source, ...PROBE],
    result: ({ images, accuracies }) => [images, accuracies],
    needsLabels: true,
  },
  {
    command: 'fid A',
    args: (source) => ['fid', source, inDir('photos.npz'), '--weights', hashWeightsFolder(), '--dims', '64'],
    result: ({ images, fid }) => [images, fid],
  },
  {
    command: 'fid B',
    args: (source) => ['fid', inDir('photos.tar'), source, '--weights', hashWeightsFolder(), '--dims', '64'],
    result: ({ images, fid }) => [images, fid],
  },
]
const probed = (models: unknown): unknown[] =>
  (models as Record<string, unknown>[]).map(({ images, probeLatents, probeFeatures }) => [
    images,
    probeLatents,
    probeFeatures,
  ])

const PROBE = [
  ...['--epochs', '1', '--epoch-length', '1', '--batch-size', '4', '--blocks', '1', '--learning-rates', '0.1'],
]

describe('the same images, whatever holds them, through', () => {
  it.each(CASES)(
    'vtp $command',
    async ({ args, result, needsLabels }) => {
      const results = await onEachKind(async (kind, out) => {
        const refused = needsLabels && !kind.labels
        const json = await vtp(kind, args(kind.spec, out), refused ? 2 : 0)
        return refused ? json.error.code : await result(json, out)
      })
      const expected = results.get('a folder')
      expect(JSON.stringify(expected)).toMatch(new RegExp(`\\b(${COUNT}|1)\\b`))
      for (const [name, value] of results) {
        const refused = needsLabels && !kinds.get(name)!.labels
        expect({ [name]: value }).toEqual({ [name]: refused ? 'no_label' : expected })
      }
    },
    900_000,
  )
})

it('shards without pixels are refused as a source, by the columns that they have', async () => {
  const latents = inDir('latents')
  await vtp({ spec: '', labels: true }, ['encode', inDir('photos'), '--out', latents, ...small, '--image-size', '32'])
  for (const command of [
    ['fid', latents, inDir('photos')],
    ['eval-recon', latents],
    ['eval-probe', '--train', latents, '--val', inDir('photos')],
  ]) {
    const json = await vtp({ spec: '', labels: true }, command, 2)
    expect(json.error).toMatchObject({ code: 'no_pixels' })
    expect(json.error.message).toMatch(/has no column "pixels" \(it has latents\)/)
  }
  expect(readFileSync(path.join(latents, '_manifest.json'), 'utf8')).toContain('"rows": 6')
})
