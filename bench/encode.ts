/**
 * `vtp encode` as a whole command, its engine alone and its preprocessing alone, in images per second, and
 * what the pipeline reaches of the slower of the two.
 *
 *   npx tsx bench/encode.ts SOURCE [--model DIR | --shape S|B|L] [--precision fp32|int8] [--limit N] [--rounds N]
 *     [--official fp32,bf16]
 *
 * With VTP_OFFICIAL (a clone of MiniMax-AI/VTP) and VTP_PYTHON (a Python with torch) in the environment, a script
 * with the official model and a DataLoader runs in the same rounds: its whole time, and its loop without imports
 * and loading. Ours is always the whole command. Build first (npm run build). Only ratios mean
 * anything on a shared machine.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { createLimiter } from '../src/async/stages.js'
import { effectiveCores } from '../src/engine/cores.js'
import { openSessions } from '../src/engine/session-pool.js'
import { openPixelPool } from '../src/image/pool/pool.js'
import { parseTransform } from '../src/image/transform.js'
import { openModel, type Precision } from '../src/model/index.js'
import { createPixelBuffers } from '../src/pipeline/stream/batches.js'
import { interleave, median, pairedRatio, printTable } from './support/measure.js'
import { randomCheckpoint, type ShapeName } from './support/random-checkpoint.js'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    model: { type: 'string' },
    shape: { type: 'string' },
    limit: { type: 'string', default: '96' },
    rounds: { type: 'string', default: '5' },
    batch: { type: 'string', default: '4' },
    precision: { type: 'string', default: 'fp32' },
    official: { type: 'string', default: 'fp32,bf16' },
  },
})
const [source] = positionals
if (!source)
  throw new Error('usage: npx tsx bench/encode.ts SOURCE [--model DIR | --shape S|B|L] [--limit N] [--rounds N]')
const scratch = mkdtempSync(path.join(tmpdir(), 'vtp-bench-'))
const batch = Number(values.batch)
const cores = effectiveCores()
const folder =
  values.model ??
  (values.shape ? await randomCheckpoint(path.join(tmpdir(), 'vtp-bench-models'), values.shape as ShapeName) : 'nano')
const files = readdirSync(source, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && /\.(jpe?g|png|webp|bmp)$/i.test(entry.name))
  .map((entry) => path.resolve(entry.parentPath, entry.name))
  .sort()
  .slice(0, Number(values.limit))
const list = path.join(scratch, 'list.txt')
writeFileSync(list, files.join('\n'))

const model = await openModel(folder)
const size = model.imageSize.height
const spec = {
  height: size,
  width: size,
  outputs: ['latents' as const],
  dtype: 'float16' as const,
  precision: values.precision as Precision,
  device: 'cpu',
}
const graph = await model.compileEncoder(spec)
const session = await openSessions({ graph, lanes: [['cpu']], threads: cores, batchSize: batch })
const transform = parseTransform(`resize(${size},${size},bilinear)`)
const pixels = size * size * 3

async function engine(): Promise<number> {
  const began = performance.now()
  const rounds = Math.max(2, Math.floor(files.length / batch))
  const run = () =>
    session.run(
      { pixels: { data: new Uint8Array(batch * pixels).fill(100), dtype: 'uint8', dims: [batch, size, size, 3] } },
      ['latents'],
    )
  await Promise.all(Array.from({ length: rounds }, run))
  return (rounds * batch) / ((performance.now() - began) / 1000)
}

async function preprocessing(): Promise<number> {
  const pool = openPixelPool(cores)
  const views = [{ kind: 'transform' as const, spec: transform.spec }]
  const buffer = createPixelBuffers(files.length, pixels, false).take()
  await pool.run({
    bytes: new Uint8Array(readFileSync(files[0]!)),
    views,
    place: { target: buffer.memory, offsets: [0] },
  })
  const limit = createLimiter(cores * 4)
  const began = performance.now()
  await Promise.all(
    files.map((file, i) =>
      limit(() =>
        pool.run({
          bytes: new Uint8Array(readFileSync(file)),
          views,
          place: { target: buffer.memory, offsets: [i * pixels] },
        }),
      ),
    ),
  )
  const seconds = (performance.now() - began) / 1000
  await pool.close()
  return files.length / seconds
}

const bin = fileURLToPath(new URL('../bin/run.js', import.meta.url))
let runs = 0
async function whole(): Promise<number> {
  const out = path.join(scratch, `out-${runs++}`)
  const args = [bin, 'encode', list, '--out', out, '--model', folder, '--batch-size', String(batch), '--json']
  args.push('--precision', values.precision)
  const began = performance.now()
  const result = spawnSync(process.execPath, args, { encoding: 'utf8' })
  if (result.status !== 0) throw new Error(result.stderr)
  rmSync(out, { recursive: true })
  return files.length / ((performance.now() - began) / 1000)
}

/** Images per second of the official script's loop, round by round. */
const loops = { fp32: [] as number[], bf16: [] as number[] }

function official(precision: 'fp32' | 'bf16') {
  const python = process.env.VTP_PYTHON ?? 'python3'
  const script = fileURLToPath(new URL('./support/official_encode.py', import.meta.url))
  return async (): Promise<number> => {
    const args = [
      script,
      process.env.VTP_OFFICIAL!,
      folder === 'nano' ? model.folder : folder,
      list,
      String(batch),
      String(cores),
      precision,
    ]
    const began = performance.now()
    const result = spawnSync(python, args, { encoding: 'utf8' })
    if (result.status !== 0) throw new Error(result.stderr)
    const { images, seconds } = JSON.parse(result.stdout) as { images: number; seconds: number }
    loops[precision].push(images / seconds)
    return images / ((performance.now() - began) / 1000)
  }
}

await whole()
const contenders: Record<string, () => Promise<number>> = {
  'vtp encode (whole command)': whole,
  'engine alone': engine,
  'preprocessing alone': preprocessing,
}
if (process.env.VTP_OFFICIAL) {
  if (values.official.includes('fp32')) contenders['official script, fp32'] = official('fp32')
  if (values.official.includes('bf16')) contenders['official script, bf16 autocast'] = official('bf16')
}
const results = await interleave(Number(values.rounds), contenders)
await session.close()
if (loops.fp32.length) results['official loop, fp32'] = loops.fp32
if (loops.bf16.length) results['official loop, bf16 autocast'] = loops.bf16
const command = results['vtp encode (whole command)']!
const [e, p] = [results['engine alone']!, results['preprocessing alone']!]
// On a CPU both stages share the cores: no schedule is faster than one after the other on all of them.
const shared = e.map((value, i) => 1 / (1 / value + 1 / p[i]!))
printTable(
  `${files.length} images, model ${model.name} at ${values.precision}, ${size}², batch ${batch}, ${cores} cores; medians of ${values.rounds} rounds, images/s`,
  Object.entries(results).map(([name, list]) => [name, median(list).toFixed(2)]),
)
printTable('ratios, median of the rounds', [
  [
    'whole command / slower of engine and preprocessing',
    pairedRatio(
      command,
      e.map((value, i) => Math.min(value, p[i]!)),
    ).toFixed(3),
  ],
  ['whole command / both sharing the cores', pairedRatio(command, shared).toFixed(3)],
  ...Object.keys(results)
    .filter((name) => name.startsWith('official'))
    .flatMap((name): [string, string][] => [
      [`whole command / ${name}`, pairedRatio(command, results[name]!).toFixed(3)],
      [`engine / ${name}`, pairedRatio(e, results[name]!).toFixed(3)],
    ]),
])
rmSync(scratch, { recursive: true, force: true })
