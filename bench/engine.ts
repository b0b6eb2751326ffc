/**
 * The engine alone against the official PyTorch model, in images per second on the same random inputs:
 * latents, all outputs in one pass against the reference's three calls, and the decoder.
 *
 *   VTP_OFFICIAL=CLONE VTP_PYTHON=PYTHON npx tsx bench/engine.ts [--shape S|B|L | --model DIR] [--rounds N] [--batch N]
 *     [--jobs encode,all,decode] [--precision fp32,int8] [--official fp32,bf16]
 *
 * Without VTP_OFFICIAL only our side runs. Rounds are interleaved. On a machine that others use at the same time,
 * --clock cpu counts the processor time of either process, divided by the cores, instead of the time that passes.
 */
import { spawn } from 'node:child_process'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { effectiveCores } from '../src/engine/cores.js'
import { openSessions } from '../src/engine/session-pool.js'
import { decoderOf, type EncoderSpec, type GraphFile, openModel, type Precision } from '../src/model/index.js'
import { interleave, median, pairedRatio, printTable } from './support/measure.js'
import { randomCheckpoint, type ShapeName } from './support/random-checkpoint.js'

const { values } = parseArgs({
  options: {
    model: { type: 'string' },
    shape: { type: 'string', default: 'B' },
    rounds: { type: 'string', default: '5' },
    batch: { type: 'string', default: '4' },
    jobs: { type: 'string', default: 'encode,all,decode' },
    precision: { type: 'string', default: 'fp32,int8' },
    official: { type: 'string', default: 'fp32,bf16' },
    clock: { type: 'string', default: 'wall' },
  },
})
const batch = Number(values.batch)
const cores = effectiveCores()
const jobs = values.jobs.split(',')
const folder =
  values.model ?? (await randomCheckpoint(path.join(tmpdir(), 'vtp-bench-models'), values.shape as ShapeName))
const model = await openModel(folder)
const size = model.imageSize.height
const pixels = Uint8Array.from({ length: batch * size * size * 3 }, (_, i) => Math.imul(i, 2654435761) >>> 24)
const [channels, grid] = decoderOf(model).latentShape(model.imageSize)
const latents = Float32Array.from({ length: batch * channels * grid * grid }, (_, i) => Math.sin(i))

const contenders: Record<string, () => Promise<number>> = {}
const sessions: { close(): Promise<void> }[] = []

async function add(name: string, graph: GraphFile): Promise<void> {
  const session = await openSessions({ graph, lanes: [['cpu']], threads: cores, batchSize: batch })
  sessions.push(session)
  const input = graph.inputs[0]!
  const run = async (): Promise<number> => {
    const data = input.name === 'pixels' ? pixels.slice() : latents.slice()
    const dims = [batch, ...(input.shape.slice(1) as number[])]
    const before = process.cpuUsage()
    const { seconds } = await session.run({ [input.name]: { data, dtype: input.dtype, dims } })
    const { user, system } = process.cpuUsage(before)
    return batch / (values.clock === 'cpu' ? (user + system) / 1e6 / cores : seconds)
  }
  await run()
  contenders[name] = run
}

function spec(outputs: EncoderSpec['outputs'], precision: Precision) {
  return { height: size, width: size, outputs, dtype: 'float16' as const, precision, device: 'cpu' }
}
const ours = values.precision.split(',') as Precision[]
const theirs = values.official.split(',')
for (const precision of ours) {
  if (jobs.includes('encode'))
    await add(`vtp encode ${precision}`, await model.compileEncoder(spec(['latents'], precision)))
  if (jobs.includes('all')) {
    await add(
      `vtp all ${precision}`,
      await model.compileEncoder(spec(['latents', 'clip', 'cls', 'patches'], precision)),
    )
  }
  if (jobs.includes('decode')) {
    await add(`vtp decode ${precision}`, await decoderOf(model).compile({ height: grid, width: grid, precision }))
  }
}

const clone = process.env.VTP_OFFICIAL
const script = fileURLToPath(new URL('./support/official_engine.py', import.meta.url))
const python = clone
  ? spawn(
      process.env.VTP_PYTHON ?? 'python3',
      [script, clone, model.folder, String(batch), String(cores), values.clock],
      {
        stdio: ['pipe', 'pipe', 'inherit'],
        // Threads that wait by spinning would count as work.
        env: { ...process.env, ...(values.clock === 'cpu' ? { OMP_WAIT_POLICY: 'passive', KMP_BLOCKTIME: '0' } : {}) },
      },
    )
  : undefined
if (python) {
  const lines = createInterface({ input: python.stdout })[Symbol.asyncIterator]()
  await lines.next()
  for (const job of jobs) {
    for (const precision of theirs) {
      const run = async (): Promise<number> => {
        python.stdin.write(`${job} ${precision}\n`)
        return batch / Number((await lines.next()).value)
      }
      await run()
      contenders[`official ${job} ${precision}`] = run
    }
  }
}

const results = await interleave(Number(values.rounds), contenders)
python?.stdin.end()
for (const session of sessions) await session.close()
printTable(
  `model ${model.name}, ${size}², batch ${batch}, ${cores} cores, ${values.clock} time; medians of ${values.rounds} rounds, images/s`,
  Object.entries(results).map(([name, list]) => [name, median(list).toFixed(2)]),
)
const compare = (a: string, b: string): [string, string] => [
  `${a} / ${b}`,
  pairedRatio(results[a]!, results[b]!).toFixed(2),
]
printTable(
  'ratios, median of the rounds',
  jobs.flatMap((job) => [
    ...ours.slice(1).map((precision) => compare(`vtp ${job} ${precision}`, `vtp ${job} ${ours[0]}`)),
    ...(python ? ours.flatMap((a) => theirs.map((b) => compare(`vtp ${job} ${a}`, `official ${job} ${b}`))) : []),
  ]),
)
