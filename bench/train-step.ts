/**
 * Seconds and memory of training steps of LightningDiT with random weights and data: the gradients' part and the
 * optimiser's.
 *
 *   npx tsx bench/train-step.ts --hidden 384 --heads 6 --depth 12 --batch 8 [--micro N] [--steps N] [--threads N] [--checkpoint]
 *
 * Prints one line of JSON. CPU seconds are those of the whole process: on a shared machine they say more than the
 * clock.
 */
import { readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { parseArgs } from 'node:util'
import { createRandom } from '../src/math/random.js'
import { OPTIMIZER_DEFAULTS, openTrainStep, stateTensors, type TrainBatch } from '../src/train/step.js'
import { median } from './support/measure.js'
import { vtpStyle } from './support/random-dit.js'

const { values } = parseArgs({
  options: {
    hidden: { type: 'string', default: '384' },
    heads: { type: 'string', default: '6' },
    depth: { type: 'string', default: '12' },
    batch: { type: 'string', default: '8' },
    micro: { type: 'string' },
    steps: { type: 'string', default: '4' },
    threads: { type: 'string', default: '2' },
    checkpoint: { type: 'boolean', default: false },
  },
})
const number = (text: string): number => Number(text)
const config = vtpStyle({
  hiddenSize: number(values.hidden),
  numHeads: number(values.heads),
  depth: number(values.depth),
  patchSize: 1,
})
const batch = number(values.batch)
const microBatch = number(values.micro ?? values.batch)
const random = createRandom(1)
const normal = (count: number, scale: number): Float32Array =>
  Float32Array.from({ length: count }, () => scale * random.normal())
const peakMib = (): number => Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))![1]) / 1024

const shapes = stateTensors(config)
const parameters = [...shapes.values()].reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0)
const opened = performance.now()
const step = await openTrainStep(
  {
    config,
    microBatch,
    microBatches: batch / microBatch,
    cosineLoss: true,
    checkpointActivations: values.checkpoint,
    transport: { path: 'Linear', prediction: 'velocity', lossWeight: 'none' },
    optimizer: OPTIMIZER_DEFAULTS,
  },
  async (kind, name) => {
    const shape = shapes.get(name)!
    const count = shape.reduce((a, b) => a * b, 1)
    if (kind === 'exp_avg' || kind === 'exp_avg_sq') return new Float32Array(count)
    return shape.length === 1 && name.includes('norm') ? new Float32Array(count).fill(1) : normal(count, 0.02)
  },
  { threads: number(values.threads), cacheDir: tmpdir() },
)
const openSeconds = (performance.now() - opened) / 1000
const latents = batch * config.inChannels * config.inputSize ** 2
const times: { wall: number; cpu: number; gradients: number; optimizer: number }[] = []
for (let n = 1; n <= number(values.steps); n++) {
  const data: TrainBatch = {
    x1: normal(latents, 1),
    x0: normal(latents, 1),
    t: Float32Array.from({ length: batch }, () => random.next()),
    labels: BigInt64Array.from({ length: batch }, (_, i) => BigInt(i)),
  }
  const [cpu, wall] = [process.cpuUsage(), performance.now()]
  const { seconds } = await step.run(data, { step: n, lr: 2e-4 })
  const used = process.cpuUsage(cpu)
  times.push({ wall: (performance.now() - wall) / 1000, cpu: (used.user + used.system) / 1e6, ...seconds })
}
await step.close()
const warm = times.slice(1)
const middle = (key: keyof (typeof times)[number]): number => Number(median(warm.map((time) => time[key])).toFixed(3))
console.log(
  JSON.stringify({
    ...values,
    parametersM: Number((parameters / 1e6).toFixed(1)),
    openSeconds: Number(openSeconds.toFixed(1)),
    wall: middle('wall'),
    cpu: middle('cpu'),
    gradients: middle('gradients'),
    optimizer: middle('optimizer'),
    bestWall: Number(Math.min(...warm.map(({ wall }) => wall)).toFixed(3)),
    peakMib: Math.round(peakMib()),
  }),
)
