/**
 * Steps of joint pre-training against the same steps with the official training class in PyTorch float32, on the same
 * batches, in interleaved rounds: what `vtp pretrain` computes between reading a batch and writing its log.
 *
 *   VTP_OFFICIAL=clone VTP_PYTHON=python npx tsx bench/pretrain.ts IMAGES [--recipe recipes/tiny-cpu.yaml]
 *       [--set KEY=VALUE] [--threads 1] [--steps 4] [--rounds 5] [--alone] [--profile]
 *
 * IMAGES is a source with classes or captions. PyTorch gets the same savings as ours: one pass of the trunk for the
 * contrastive loss and reconstruction, distinct captions at the length of the longest, and its fused AdamW. --alone
 * leaves PyTorch out; --profile prints where our step spends its time, by operator. Ratios below 1: ours takes less.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface, type Interface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { encodeSafetensorsHeader } from '../src/io/safetensors.js'
import { writeCheckpoint } from '../src/pretrain/checkpoint.js'
import { openPretrainData } from '../src/pretrain/data.js'
import { type JointBatch, type JointLog, openJointTrainer } from '../src/pretrain/joint.js'
import { readPretrainRecipe } from '../src/pretrain/recipe.js'
import { openStart } from '../src/pretrain/start.js'
import { median, pairedRatio, printTable } from './support/measure.js'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    recipe: { type: 'string', default: fileURLToPath(new URL('../recipes/tiny-cpu.yaml', import.meta.url)) },
    set: { type: 'string', multiple: true, default: [] },
    threads: { type: 'string', default: '1' },
    steps: { type: 'string', default: '4' },
    rounds: { type: 'string', default: '5' },
    alone: { type: 'boolean', default: false },
    profile: { type: 'boolean', default: false },
  },
})
const [threads, steps, rounds] = [values.threads, values.steps, values.rounds].map(Number) as [number, number, number]
const BATCHES = 4
const SEED = 1

interface Measured {
  /** Seconds of `steps` steps. */
  cpu: number
  wall: number
  log: JointLog
}

const folder = mkdtempSync(path.join(tmpdir(), 'vtp-bench-pretrain-'))
const recipe = await readPretrainRecipe(values.recipe, { settings: values.set })
const start = await openStart(recipe, { seed: SEED })
const data = await openPretrainData(recipe, start.config, {
  ...{ source: positionals[0]!, workers: 1, seed: SEED, maxPixels: 1e8 },
})
const batches: JointBatch[] = []
for (let step = 1; step <= BATCHES; step++) batches.push((await data.read(step)).tensors)
await data.close()
const profiled = values.profile ? path.join(folder, 'profile') : undefined
const trainer = await openJointTrainer(start, recipe, { threads, batch: data.shapes, profile: profiled })
const state = path.join(folder, 'case')
await writeCheckpoint(state, start, trainer.state, { exported: 'student' })
writeFileSync(path.join(state, 'config.json'), JSON.stringify({ ...start.config, model_type: 'vtp' }))
writeFileSync(path.join(state, 'recipe.json'), JSON.stringify(recipe))
await writeBatches(path.join(state, 'batches.safetensors'))

/** In the layout of `--replay`. */
async function writeBatches(file: string): Promise<void> {
  const dtypes = { uint8: 'U8', int64: 'I64', float32: 'F32', bool: 'BOOL' } as const
  const all = batches.flatMap((batch, step) =>
    [...batch].map(([name, { type, data, dims }]) => ({
      name: `step${step}.${name}`,
      dtype: dtypes[type],
      shape: [...dims],
      data,
    })),
  )
  const header = encodeSafetensorsHeader(all, {})
  const out = await open(file, 'w')
  await out.writeFile(header.bytes)
  for (const { name } of header.order) {
    const { data } = all.find((tensor) => tensor.name === name)!
    await out.writeFile(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
  }
  await out.close()
}

let done = 0
async function ours(): Promise<Measured> {
  const [cpu, wall] = [process.cpuUsage(), performance.now()]
  let log: JointLog
  for (let n = 0; n < steps; n++) {
    log = (await trainer.step(batches[done % BATCHES]!, recipe.hyper_parameters.first_iter + done)).log
    done++
  }
  const used = process.cpuUsage(cpu)
  return { cpu: (used.user + used.system) / 1e6, wall: (performance.now() - wall) / 1000, log: log! }
}

function openOfficial(): { process: ChildProcess; lines: Interface } {
  const script = fileURLToPath(new URL('./support/official_pretrain.py', import.meta.url))
  const args = [script, process.env.VTP_OFFICIAL!, state, String(threads), '--shared', '--fused']
  // Threads that wait must not spin: on a machine that others use they would burn what they wait for.
  const env = { OMP_WAIT_POLICY: 'PASSIVE', GOMP_SPINCOUNT: '0', ...process.env }
  const child = spawn(process.env.VTP_PYTHON ?? 'python3', args, { stdio: ['pipe', 'pipe', 'inherit'], env })
  return { process: child, lines: createInterface({ input: child.stdout }) }
}

async function official(peer: ReturnType<typeof openOfficial>): Promise<Measured> {
  peer.process.stdin!.write(`${steps}\n`)
  const [line] = (await Promise.race([
    once(peer.lines, 'line'),
    once(peer.process, 'exit').then(() => Promise.reject(new Error('the official script ended'))),
  ])) as [string]
  return JSON.parse(line) as Measured
}

interface ProfileEvent {
  cat: string
  name: string
  dur: number
  args: { op_name: string; output_type_shape?: Record<string, number[]>[] }
}

/** Milliseconds of a step by operator, and by operator and shape. */
function printProfile(runs: number): void {
  const file = readdirSync(folder).find((name) => name.startsWith('profile'))!
  const events = JSON.parse(readFileSync(path.join(folder, file), 'utf8')) as ProfileEvent[]
  const times = new Map<string, number>()
  const add = (key: string, dur: number): void => void times.set(key, (times.get(key) ?? 0) + dur / 1000 / runs)
  for (const { cat, name, dur, args } of events) {
    if (cat !== 'Node' || !name.endsWith('_kernel_time')) continue
    const shapes = (args.output_type_shape ?? []).flatMap((port) => Object.values(port).map((dims) => dims.join('×')))
    add(args.op_name, dur)
    add(`  ${args.op_name} → ${shapes.join(', ')}`, dur)
    add('all', dur)
  }
  const rows = [...times].sort((a, b) => b[1] - a[1])
  for (const isShape of [false, true])
    printTable(
      isShape ? 'by operator and shape' : 'by operator',
      rows
        .filter(([key]) => key.startsWith('  ') === isShape)
        .slice(0, 40)
        .map(([key, ms]) => [key, `${ms.toFixed(1)} ms`]),
    )
}

const found: Record<'vtp' | 'pytorch', Measured[]> = { vtp: [], pytorch: [] }
const peer = values.alone ? undefined : openOfficial()
for (let round = 0; round <= rounds; round++) {
  const mine = await ours()
  const theirs = peer && (await official(peer))
  const told = [mine, ...(theirs ? [theirs] : [])].map(
    ({ cpu, wall, log }) => `cpu ${cpu.toFixed(2)} s, wall ${wall.toFixed(2)} s, total ${log.total.toFixed(4)}`,
  )
  process.stderr.write(`round ${round}: ${told.join(' | ')}\n`)
  // The first one warms up.
  if (round === 0) continue
  found.vtp.push(mine)
  if (theirs) found.pytorch.push(theirs)
}
peer?.process.stdin?.end()
const images = data.plan.images
const seconds = (all: Measured[], key: 'cpu' | 'wall'): number => median(all.map((one) => one[key])) / steps
printTable(
  `${images} images a step, ${threads} threads, ${rounds} rounds of ${steps} steps`,
  Object.entries(found)
    .filter(([, all]) => all.length > 0)
    .map(([name, all]) => [
      name,
      `${(1000 * seconds(all, 'cpu')).toFixed(0)} ms of processor time a step, ${(1000 * seconds(all, 'wall')).toFixed(0)} ms by the clock; ` +
        `${(images / seconds(all, 'cpu')).toFixed(0)} images per CPU second`,
    ]),
)
if (peer) {
  const ratio = (key: 'cpu' | 'wall'): string =>
    pairedRatio(
      found.vtp.map((one) => one[key]),
      found.pytorch.map((one) => one[key]),
    ).toFixed(2)
  printTable('vtp ÷ PyTorch', [
    ['processor time', ratio('cpu')],
    ['time', ratio('wall')],
  ])
}
await trainer.close()
if (values.profile) printProfile(steps * (rounds + 1))
rmSync(folder, { recursive: true })
