/**
 * The sampling loop of `vtp generate` (Euler) against the reference's on the same CPU: the official
 * LightningDiT in PyTorch, float32 and bf16 autocast, in interleaved rounds. All steps of Euler cost the
 * same, so a few of them tell the time of 250; decoding and PNG are left out on both sides.
 *
 *   LIGHTNINGDIT=clone VTP_PYTHON=python npx tsx bench/generate.ts \
 *     [--size LightningDiT-XL/1] [--batch 2] [--steps 2] [--guidance 1] [--rounds 3] [--precision fp32,int8]
 *
 * The checkpoint has the given shape and random weights. Build first. On a machine that others use at the same
 * time, --clock cpu counts the processor time of either process, divided by the cores, instead of the time that
 * passes.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { effectiveCores } from '../src/engine/cores.js'
import { openSession, type Session } from '../src/engine/session.js'
import { createDitModel } from '../src/generate/evaluate.js'
import { sampleNoise } from '../src/generate/noise.js'
import { sample } from '../src/generate/samplers.js'
import { timeGrid } from '../src/generate/schedule.js'
import { defaultCacheDir } from '../src/io/cache.js'
import type { Precision } from '../src/model/index.js'
import { openDit } from '../src/model/lightningdit/checkpoint.js'
import { DIT_SIZES, ditFlops } from '../src/model/lightningdit/config.js'
import { compileDit } from '../src/model/lightningdit/model.js'
import { interleave, median, pairedRatio, printTable } from './support/measure.js'
import { randomDit, vtpStyle } from './support/random-dit.js'

const { values } = parseArgs({
  options: {
    size: { type: 'string', default: 'LightningDiT-XL/1' },
    batch: { type: 'string', default: '2' },
    steps: { type: 'string', default: '2' },
    guidance: { type: 'string', default: '1' },
    rounds: { type: 'string', default: '3' },
    precision: { type: 'string', default: 'fp32' },
    clock: { type: 'string', default: 'wall' },
    root: { type: 'string', default: path.join(tmpdir(), 'vtp-bench-models') },
  },
})
if (!(values.size in DIT_SIZES)) throw new Error(`--size is one of ${Object.keys(DIT_SIZES).join(', ')}`)
const batch = Number(values.batch)
const steps = Number(values.steps)
const scale = Number(values.guidance)
const cores = effectiveCores()
const cacheDir = defaultCacheDir()
const checkpoint = await randomDit(values.root, values.size, vtpStyle(values.size))
const dit = await openDit(checkpoint, { cacheDir })
const guidance = scale > 1 ? { scale, intervalStart: 0, nullLabel: 1000 } : undefined
const size = 64 * 16 * 16
const noise = new Float32Array(batch * size)
for (let i = 0; i < batch; i++) noise.set(sampleNoise(0, i, size), i * size)
const labels = Array.from({ length: batch }, (_, i) => i * 37)
const settings = { method: 'euler' as const, grid: timeGrid(steps, 0.075), atol: 0, rtol: 0, group: 1 }
/** Seconds. */
function now(): number {
  if (values.clock !== 'cpu') return performance.now() / 1000
  const { user, system } = process.cpuUsage()
  return (user + system) / 1e6 / cores
}
/** Images per hour of a whole Euler-250, from the time of these steps. */
const rate = (seconds: number): number => (3600 * batch) / ((seconds / (steps - 1)) * 249)

async function openOurs(precision: Precision): Promise<{ run: () => Promise<number>; session: Session }> {
  const graph = await compileDit(dit, { guidedChannels: 3, precision }, cacheDir)
  const session = await openSession({ path: graph.path, providers: ['cpu'], threads: cores })
  const model = createDitModel(session, [64, 16, 16], guidance)
  const run = async (): Promise<number> => {
    const began = now()
    await sample(model, settings, { noise, labels })
    return rate(now() - began)
  }
  return { run, session }
}

interface Official {
  run(precision: string): Promise<number>
  child: ChildProcess
}

async function startOfficial(clone: string): Promise<Official> {
  const script = fileURLToPath(new URL('./support/official_generate.py', import.meta.url))
  const args = [script, clone, checkpoint, values.size, String(batch), String(steps), String(scale), values.clock]
  const child = spawn(process.env.VTP_PYTHON ?? 'python3', args, { stdio: ['pipe', 'pipe', 'inherit'] })
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]()
  const next = async (): Promise<{ seconds?: number }> => {
    const line = await lines.next()
    if (line.done) throw new Error('the official program ended early')
    return JSON.parse(line.value) as { seconds?: number }
  }
  await next()
  return {
    child,
    async run(precision) {
      child.stdin!.write(`${precision}\n`)
      return rate((await next()).seconds!)
    },
  }
}

const official = process.env.LIGHTNINGDIT ? await startOfficial(process.env.LIGHTNINGDIT) : undefined
const contenders: Record<string, () => Promise<number>> = {}
const sessions: Session[] = []
for (const precision of values.precision.split(',')) {
  const { run, session } = await openOurs(precision as Precision)
  sessions.push(session)
  contenders[`vtp generate, ${precision}`] = run
}
if (official) {
  contenders['official, fp32'] = () => official.run('fp32')
  contenders['official, bf16 autocast'] = () => official.run('bf16')
}
for (const run of Object.values(contenders)) await run() // warm
const results = await interleave(Number(values.rounds), contenders)
if (official) official.child.stdin!.end()
await Promise.all([...sessions.map((session) => session.close()), dit.close()])
const isOurs = (name: string): boolean => name.startsWith('vtp generate')
const flops = ditFlops(dit.config) * (scale > 1 ? 2 : 1) * 249
printTable(
  `${values.size}, batch ${batch}, Euler-250 from ${steps - 1} step(s), guidance ${scale}, ${cores} cores, ${values.clock} clock; medians of ${values.rounds} rounds`,
  Object.entries(results).map(([name, list]) => [
    name,
    `${median(list).toFixed(2)} images/h, ${((median(list) * flops) / 3.6e12).toFixed(0)} GFLOP/s`,
  ]),
)
const entries = Object.entries(results)
printTable(
  'ratios, median of the rounds',
  entries
    .filter(([name]) => isOurs(name))
    .flatMap(([own, rates]) =>
      entries
        .filter(([name]) => !isOurs(name))
        .map(([name, list]): [string, string] => [`${own} / ${name}`, pairedRatio(rates, list).toFixed(3)]),
    ),
)
