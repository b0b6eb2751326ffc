/**
 * Whether another build writes the same bytes: about twenty command lines over the bundled images, each output
 * reduced to one SHA-256. Run it before and after a change of structure and compare.
 *
 *   npx tsx test/trials/same-outputs.ts [BIN] > after.txt     # BIN: the bin/run.js to test, default this checkout's
 *   npx tsx test/trials/same-outputs.ts OLD/bin/run.js > before.txt && diff before.txt after.txt
 *
 * Of a run's folder the data count (shards, pictures, arrays, statistics, indexes); of JSON the numbers of the
 * result, without times and paths. Notes beside the data (manifests, plans) may change their form between versions.
 */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { copyFileSync, cpSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { randomDit, vtpStyle } from '../../bench/support/random-dit.js'
import { encodeLatentsStats } from '../../src/io/torch-stats.js'
import { binPath, repoRoot } from '../support/cli.js'
import { hashWeightsFolder } from '../support/hash-weights.js'

const bin = path.resolve(process.argv[2] ?? binPath)
// Always the same place: shards hold the addresses of their images.
const dir = path.join(tmpdir(), 'vtp-same-outputs')
rmSync(dir, { recursive: true, force: true })
mkdirSync(dir)
const at = (name: string): string => path.join(dir, name)
/** The bundled images in one folder: class names lie in a shard's metadata, whose words are not what is compared. */
const images = at('images')
mkdirSync(images)
for (const name of readdirSync(path.join(repoRoot, 'fixtures', 'images'), { recursive: true }) as string[]) {
  const file = path.join(repoRoot, 'fixtures', 'images', name)
  if (statSync(file).isFile()) copyFileSync(file, path.join(images, path.basename(name)))
}
/** Two classes for the probe. */
const classes = at('classes')
for (const name of ['things', 'textures and sky'])
  cpSync(path.join(repoRoot, 'fixtures', 'images', name), path.join(classes, name), { recursive: true })

const sha = (data: string | Buffer): string => createHash('sha256').update(data).digest('hex').slice(0, 16)

/** Data files of a folder, or one file: not what begins with `_` or says how the run went. */
function digest(place: string): string {
  if (statSync(place).isFile()) return sha(readFileSync(place))
  const names = (readdirSync(place, { recursive: true }) as string[])
    .filter((name) => /\.(arrow|parquet|safetensors|npy|npz|pt|png|usearch|bin)$/.test(name) && !name.startsWith('_'))
    .sort()
  return sha(names.map((name) => `${name} ${sha(readFileSync(path.join(place, name)))}`).join('\n'))
}

const UNSTABLE =
  /seconds|perSecond|bottleneck|memory|^out$|path|uri|report|cache|bytes|device|threads|notes|version|vtp|source/i

/** The numbers of a result: what depends on time, place or machine is left out. */
function numbers(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(numbers)
  if (typeof value !== 'object' || value === null) return typeof value === 'number' ? value : undefined
  const entries = Object.entries(value).filter(([key]) => !UNSTABLE.test(key))
  return Object.fromEntries(entries.map(([key, inner]) => [key, numbers(inner)]))
}

/** Runs a command line; prints its digest: of `out` below the scratch folder, else of the numbers of --json. */
function check(args: string[], out?: string): void {
  const env = { ...process.env, VTP_CACHE: at('cache') }
  const { status, stdout, stderr } = spawnSync(process.execPath, [bin, ...args], { env, encoding: 'utf8' })
  const shown = args.map((arg) => arg.replaceAll(dir, 'OUT').replaceAll(images, 'IMAGES')).join(' ')
  if (status !== 0) console.log(`exit ${status}: ${shown}\n${stderr}`)
  else console.log(`${out ? digest(at(out)) : sha(JSON.stringify(numbers(JSON.parse(stdout))))}  vtp ${shown}`)
}

try {
  const encode = (out: string, ...more: string[]): void => check(['encode', images, '--out', at(out), ...more], out)
  encode('latents')
  encode('all', '--outputs', 'latents,clip,cls,patches,layers', '--layers', '3', '--flip', '--shard-rows', '5')
  encode('parquet', '--outputs', 'latents,clip', '--format', 'parquet', '--dtype', 'float32')
  encode('safetensors', '--format', 'safetensors', '--flip', '--batch-size', '3')
  encode('adm', '--transform', 'adm-crop(128)', '--precision', 'int8')
  encode('pixels', '--outputs', 'pixels', '--image-size', '64x96')
  check(['encode', at('pixels'), '--out', at('again')], 'again')
  check(['embed', images, '--out', at('embeddings')], 'embeddings')
  check(['embed', images, '--out', at('npy'), '--format', 'npy'], 'npy')
  writeFileSync(at('captions.txt'), 'a cat\na cup of coffee\nan astronaut\n')
  check(['embed', '--text', at('captions.txt'), '--out', at('texts')], 'texts')
  check(['index', at('embeddings'), '--out', at('photos.index'), '--json'])
  check(['search', at('photos.index'), 'a cat', '--json'])
  check(['dedup', at('photos.index'), '--threshold', '0.5', '--json'])
  check(['classify', images, '--labels', at('captions.txt'), '--json'])
  check(['decode', at('latents'), '--out', at('pictures')], 'pictures')
  const photo = path.join(images, 'coffee.webp')
  check(['decode', photo, '--out', at('coffee.png'), '--side-by-side'], 'coffee.png')
  check(['stats', at('latents'), '--json'])
  const weights = hashWeightsFolder()
  check(['eval-recon', images, '--weights', weights, '--json'])
  writeFileSync(at('names.txt'), 'sky\nthing\n')
  check(['eval-zeroshot', classes, '--classnames', at('names.txt'), '--json'])
  check(['eval-probe', '--train', classes, '--val', classes, '--epochs', '1', '--epoch-length', '4', '--json'])
  check(['fid', images, at('pictures'), '--weights', weights, '--json'])
  const dit = await randomDit(dir, 'small', vtpStyle({ hiddenSize: 96, depth: 3, numHeads: 4 }))
  const stats = encodeLatentsStats(new Float32Array(64).fill(0.1), new Float32Array(64).fill(1.5))
  writeFileSync(at('stats.pt'), stats)
  const recipe = ['--steps', '4', '--timestep-shift', '0.3', '--cfg-scale', '1.5', '--num', '6', '--shard-rows', '4']
  check(['generate', '--dit', dit, '--stats', at('stats.pt'), ...recipe, '--out', at('samples')], 'samples')
} finally {
  rmSync(dir, { recursive: true, force: true })
}
