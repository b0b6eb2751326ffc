/**
 * Preprocessing per core: what a run does with one core, decoding alone and resizing alone, against Pillow with
 * torchvision, for the transforms of the reference protocols and for three sizes made of the photographs in
 * SOURCE: thumbnails of 64×64, as they are, and mosaics of 4000×3000. With `--format webp` all of them are lossy WebP
 * of quality 80.
 *
 *   VTP_PYTHON=/path/to/python npx tsx bench/preprocess.ts SOURCE [--format jpeg|webp] [--limit N] [--rounds N]
 *
 * VTP_PYTHON is a Python with Pillow and torchvision; without it only our side runs. Each side is one process,
 * held on one core where there is `taskset`. Two ratios are printed: by the clock, and by the processor time of
 * all threads, which other work on the machine disturbs less. Build first (npm run build).
 */
import { spawn, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import sharp, { type Sharp } from 'sharp'
import { decodeImage } from '../src/image/decode.js'
import { resizePillow, resizeReference } from '../src/image/resize.js'
import { interleave, median, pairedRatio, printTable } from './support/measure.js'
import type { PreprocessJob } from './support/preprocess-vtp.js'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    format: { type: 'string', default: 'jpeg' },
    limit: { type: 'string', default: '150' },
    rounds: { type: 'string', default: '5' },
  },
})
const [source] = positionals
const isWebp = values.format === 'webp'
if (!source || !(isWebp || values.format === 'jpeg'))
  throw new Error('usage: npx tsx bench/preprocess.ts SOURCE [--format jpeg|webp] [--limit N] [--rounds N]')
const photographs = readdirSync(source, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && /\.jpe?g$/i.test(entry.name))
  .map((entry) => path.resolve(entry.parentPath, entry.name))
  .sort()
  .slice(0, Number(values.limit))
const scratch = mkdtempSync(path.join(tmpdir(), 'vtp-bench-'))

const SPECS = ['resize(256,256,bilinear)', 'resize(256,bicubic)|center-crop(224)', 'adm-crop(256)']
/** Mosaics: as fine in every pixel as the photographs, which an enlarged one would not be. */
const MOSAICS = 4
const [TILES, TILE_WIDTH, TILE_HEIGHT] = [8, 500, 375]

const encoded = (image: Sharp): Sharp => (isWebp ? image.webp({ quality: 80 }) : image.jpeg({ quality: 90 }))

/** The photographs, changed and in the chosen format. */
async function writePhotographs(name: string, change: (image: Sharp) => Sharp): Promise<string[]> {
  const folder = path.join(scratch, name)
  mkdirSync(folder)
  return Promise.all(
    photographs.map(async (file, i) => {
      const to = path.join(folder, String(i))
      await encoded(change(sharp(file).toColourspace('srgb'))).toFile(to)
      return to
    }),
  )
}

async function writeMosaic(file: string, first: number): Promise<void> {
  const tiles = Array.from({ length: TILES * TILES }, async (_, i) => ({
    input: await sharp(photographs[(first + i) % photographs.length]!)
      .toColourspace('srgb')
      .resize(TILE_WIDTH, TILE_HEIGHT)
      .png({ compressionLevel: 1 })
      .toBuffer(),
    left: (i % TILES) * TILE_WIDTH,
    top: Math.floor(i / TILES) * TILE_HEIGHT,
  }))
  const blank = { width: TILES * TILE_WIDTH, height: TILES * TILE_HEIGHT, channels: 3 as const, background: 'black' }
  await encoded(sharp({ create: blank }).composite(await Promise.all(tiles))).toFile(file)
}

async function writeMosaics(folder: string): Promise<string[]> {
  const files = Array.from({ length: MOSAICS }, (_, i) => path.join(folder, `mosaic-${i}`))
  for (const [i, file] of files.entries()) await writeMosaic(file, i * TILES * TILES)
  return files
}

interface Timing {
  seconds: number
  cpu: number
}

const hasTaskset = spawnSync('taskset', ['-c', '0', 'true']).status === 0

/** Starts one side; the function it returns sends a job and waits for its timing. */
async function startSide(command: string, args: string[]) {
  const pinned = hasTaskset ? ['taskset', '-c', '0', command, ...args] : [command, ...args]
  const child = spawn(pinned[0]!, pinned.slice(1), { stdio: ['pipe', 'pipe', 'inherit'] })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  await lines.next()
  return {
    async time(job: PreprocessJob): Promise<Timing> {
      child.stdin.write(`${JSON.stringify(job)}\n`)
      return JSON.parse((await lines.next()).value as string) as Timing
    },
    stop: () => child.stdin.end(),
  }
}

const support = (name: string): string => fileURLToPath(new URL(`./support/${name}`, import.meta.url))
const sides = {
  vtp: await startSide(process.execPath, ['--import', 'tsx', support('preprocess-vtp.ts')]),
  ...(process.env.VTP_PYTHON && { Pillow: await startSide(process.env.VTP_PYTHON, [support('preprocess.py')]) }),
}

const sets: Record<string, string[]> = {
  'thumbnails 64×64': await writePhotographs('thumbnails', (image) => image.resize(64, 64)),
  'as they are': isWebp ? await writePhotographs('photographs', (image) => image) : photographs,
  'mosaics 4000×3000': await writeMosaics(scratch),
}
const jobs: { set: string; kind: PreprocessJob['kind']; transform: string }[] = Object.keys(sets).flatMap((set) => [
  { set, kind: 'decode' as const, transform: '' },
  ...SPECS.map((transform) => ({ set, kind: 'resize' as const, transform })),
  ...SPECS.map((transform) => ({ set, kind: 'run' as const, transform })),
])

const cpu: Record<string, number[]> = {}
const contenders: Record<string, () => Promise<number>> = {}
for (const { set, kind, transform } of jobs) {
  const name = `${set}: ${kind} ${transform}`.trim()
  for (const [side, { time }] of Object.entries(sides)) {
    contenders[`${name} (${side})`] = async () => {
      const files = sets[set]!
      // Enough work for a clock: small images are taken several times.
      const times = set.startsWith('thumbnails') && kind !== 'resize' ? 10 : 1
      const job = { kind, transform, files: Array.from({ length: times }, () => files).flat() }
      const timing = await time(job)
      cpu[`${name} (${side})`] = [...(cpu[`${name} (${side})`] ?? []), job.files.length / timing.cpu]
      return job.files.length / timing.seconds
    }
  }
}
const some = await Promise.all(photographs.slice(0, 30).map((file) => decodeImage(readFileSync(file))))
for (const [name, resize] of Object.entries({ vectors: resizePillow, TypeScript: resizeReference })) {
  contenders[name] = async () => {
    const start = performance.now()
    for (const image of some) resize(image, 256, 256, 'bilinear')
    return (some.length * 1000) / (performance.now() - start)
  }
}
// One round that does not count: code is compiled, files come into the cache.
await interleave(1, contenders)
for (const name of Object.keys(cpu)) cpu[name] = []
const results = await interleave(Number(values.rounds), contenders)
for (const side of Object.values(sides)) side.stop()
rmSync(scratch, { recursive: true, force: true })

printTable(
  `images/s ${hasTaskset ? 'on one core' : 'by one thread (no taskset here)'}, medians of ${values.rounds} rounds of ${photographs.length} photographs`,
  Object.entries(results).map(([name, list]) => [name, median(list).toFixed(1)]),
)
if ('Pillow' in sides) {
  printTable(
    'vtp / Pillow: by the clock · by processor time',
    jobs.map(({ set, kind, transform }) => {
      const name = `${set}: ${kind} ${transform}`.trim()
      const ratio = (from: Record<string, number[]>) =>
        pairedRatio(from[`${name} (vtp)`]!, from[`${name} (Pillow)`]!).toFixed(2)
      return [name, `${ratio(results)} · ${ratio(cpu)}`]
    }),
  )
}
printTable('vectors / TypeScript', [
  ['resize(256,256,bilinear)', pairedRatio(results.vectors!, results.TypeScript!).toFixed(2)],
])
