/**
 * A small training that is killed twenty times at random steps, with 1 and 2 threads and in a folder that moves: its
 * checkpoints and its log (but for times) must be those of a training that nobody disturbed. Results are in
 * docs/training.md.
 *
 *   npx tsx test/trials/train-kills.ts FOLDER [--kills N] [--steps N] [--seed N]
 */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync } from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { createRandom } from '../../src/math/random.js'
import { runCli } from '../support/cli.js'
import { signalWhen } from '../support/signal-when.js'
import { renderPictures } from './pictures.js'

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    kills: { type: 'string', default: '20' },
    steps: { type: 'string', default: '60' },
    seed: { type: 'string', default: '1' },
  },
})
const [steps, kills] = [Number(values.steps), Number(values.kills)]
const folder = path.resolve(positionals[0]!)
const at = (...parts: string[]): string => path.join(folder, ...parts)
const random = createRandom(Number(values.seed))

const train = (out: string, threads: number): string[] => [
  ...['train', at('latents'), '--size', '64x2x4/1', '--batch-size', '16', '--micro-batch', '8', '--lr', '1e-3'],
  ...['--steps', values.steps, '--save-every', '15', '--checkpoint-seconds', '0', '--threads', String(threads)],
  ...['--out', at(out)],
]
const lines = (out: string): string[] =>
  existsSync(at(out, 'log.jsonl')) ? readFileSync(at(out, 'log.jsonl'), 'utf8').trim().split('\n') : []

/** The log without its times, and the SHA-256 of every checkpoint. */
function outcome(out: string): object {
  const log = lines(out).map((line) => {
    const { seconds: _, imagesPerSecond: __, ...numbers } = JSON.parse(line)
    return numbers
  })
  const names = readdirSync(at(out, 'checkpoints')).sort()
  const digest = (name: string): string =>
    createHash('sha256')
      .update(readFileSync(at(out, 'checkpoints', name)))
      .digest('hex')
  return { log, checkpoints: Object.fromEntries(names.map((name) => [name, digest(name)])) }
}

async function finish(out: string, threads: number): Promise<void> {
  const { code, stderr } = await runCli(train(out, threads))
  if (code !== 0) throw new Error(stderr)
}

await renderPictures(at('pictures'), 0, 4)
const encoded = await runCli([
  'encode',
  at('pictures'),
  '--image-size',
  '128',
  '--flip',
  '--format',
  'safetensors',
  '--out',
  at('latents'),
])
if (encoded.code !== 0) throw new Error(encoded.stderr)
await finish('undisturbed', 1)
const undisturbed = outcome('undisturbed')
await finish('two-threads', 2)
assert.deepEqual(outcome('two-threads'), undisturbed)
console.log('2 threads: the same')

let out = 'killed-0'
let died = 0
for (let kill = 1; kill <= kills; kill++) {
  const before = lines(out).length
  // Between the steps that are there and the last one; also before the first.
  const wanted =
    before + Math.floor(random.next() * Math.max(1, Math.ceil((2 * (steps - before)) / (kills - kill + 2))))
  const { signal } = await runCli(train(out, 1 + (kill % 2)), {
    onSpawn: signalWhen('SIGKILL', () => lines(out).length >= wanted, 5),
  })
  if (signal === 'SIGKILL') died++
  console.log(`kill ${kill}: after step ${lines(out).length}`)
  const next = `killed-${kill}`
  mkdirSync(at(out), { recursive: true })
  renameSync(at(out), at(next))
  out = next
}
await finish(out, 2)
assert.deepEqual(outcome(out), undisturbed)
console.log(`${died} kills, ${kills} moves, 1 and 2 threads in turn: the same`)
