/**
 * Preprocessing on one core, in images per second: decoding and the three transforms of the reference
 * protocols, against Pillow with torchvision, and the vectors against their TypeScript reference.
 *
 *   VTP_PYTHON=/path/to/python npx tsx bench/preprocess.ts SOURCE [--limit N] [--rounds N]
 *
 * VTP_PYTHON is a Python with Pillow and torchvision; without it only our side runs. Every contender takes
 * one image after the other. Only ratios mean anything on a shared machine.
 */
import { spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { decodeImage } from '../src/image/decode.js'
import { resizePillow, resizeReference } from '../src/image/resize.js'
import { applyTransform, parseTransform } from '../src/image/transform.js'
import { interleave, median, pairedRatio, printTable } from './support/measure.js'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { limit: { type: 'string', default: '200' }, rounds: { type: 'string', default: '7' } },
})
const [source] = positionals
if (!source) throw new Error('usage: npx tsx bench/preprocess.ts SOURCE [--limit N] [--rounds N]')
const paths = readdirSync(source, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && /\.(jpe?g|png|webp)$/i.test(entry.name))
  .map((entry) => path.resolve(entry.parentPath, entry.name))
  .sort()
  .slice(0, Number(values.limit))
const files = paths.map((file) => readFileSync(file))

/** One process that times a job over all files whenever it is told the job's name. */
const PYTHON = `
import io, sys, time, torch
from PIL import Image
from torchvision import transforms as T
torch.set_num_threads(1)
files = [open(p, 'rb').read() for p in sys.argv[1:]]
decode = lambda b: Image.open(io.BytesIO(b)).convert('RGB')
def adm(im, s=256):
    while min(im.size) >= 2 * s:
        im = im.resize((im.width // 2, im.height // 2), Image.BOX)
    k = s / min(im.size)
    im = im.resize((round(im.width * k), round(im.height * k)), Image.BICUBIC)
    x, y = (im.width - s) // 2, (im.height - s) // 2
    return im.crop((x, y, x + s, y + s))
jobs = {
    'resize256': T.Resize((256, 256)),
    'eval224': T.Compose([T.Resize(256, T.InterpolationMode.BICUBIC), T.CenterCrop(224)]),
    'adm256': adm,
}
images = [decode(b) for b in files]
print('ready', flush=True)
for line in sys.stdin:
    kind, name = line.split()
    f = jobs.get(name)
    start = time.perf_counter()
    if kind == 'decode':
        for b in files: decode(b)
    elif kind == 'resize':
        for im in images: f(im)
    else:
        for b in files: f(decode(b)).tobytes()
    print(time.perf_counter() - start, flush=True)
`

const SPECS = {
  resize256: 'resize(256,256,bilinear)',
  eval224: 'resize(256,bicubic)|center-crop(224)',
  adm256: 'adm-crop(256)',
} as const

const images = await Promise.all(files.map((bytes) => decodeImage(bytes)))

async function seconds(job: () => unknown): Promise<number> {
  const start = process.hrtime.bigint()
  await job()
  return Number(process.hrtime.bigint() - start) / 1e9
}
const rate = async (job: () => unknown): Promise<number> => files.length / (await seconds(job))

const contenders: Record<string, () => Promise<number>> = {}
const python = process.env.VTP_PYTHON ? spawn(process.env.VTP_PYTHON, ['-c', PYTHON, ...paths]) : undefined
python?.stderr.pipe(process.stderr)
const lines = python && createInterface({ input: python.stdout })[Symbol.asyncIterator]()
await lines?.next()

function pillow(kind: string, name: string): void {
  if (!python || !lines) return
  contenders[`Pillow ${kind} ${name}`] = async () => {
    python.stdin.write(`${kind} ${name}\n`)
    return files.length / Number((await lines.next()).value)
  }
}

contenders['vtp decode -'] = () =>
  rate(async () => {
    for (const bytes of files) await decodeImage(bytes)
  })
pillow('decode', '-')
for (const [name, spec] of Object.entries(SPECS)) {
  const transform = parseTransform(spec)
  contenders[`vtp resize ${name}`] = () => rate(() => images.forEach((image) => void applyTransform(image, transform)))
  pillow('resize', name)
  contenders[`vtp both ${name}`] = () =>
    rate(async () => {
      for (const bytes of files) applyTransform(await decodeImage(bytes), transform)
    })
  pillow('both', name)
}
contenders.vectors = () => rate(() => images.forEach((image) => void resizePillow(image, 256, 256, 'bilinear')))
contenders.TypeScript = () => rate(() => images.forEach((image) => void resizeReference(image, 256, 256, 'bilinear')))

const results = await interleave(Number(values.rounds), contenders)
python?.stdin.end()

const megapixels = images.reduce((sum, image) => sum + image.width * image.height, 0) / 1e6 / images.length
printTable(
  `images per second on one core, median of ${values.rounds} rounds of ${files.length} files (${megapixels.toFixed(2)} Mpx each)`,
  Object.entries(results).map(([name, list]) => [name, median(list).toFixed(0)]),
)
printTable(
  'ratios, round by round',
  Object.keys(results)
    .filter((name) => name.startsWith('vtp ') && python)
    .map(
      (name) =>
        [`${name} / Pillow`, pairedRatio(results[name]!, results[name.replace('vtp', 'Pillow')]!).toFixed(2)] as [
          string,
          string,
        ],
    )
    .concat([['vectors / TypeScript', pairedRatio(results.vectors!, results.TypeScript!).toFixed(2)]]),
)
