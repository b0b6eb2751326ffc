/**
 * Steps of training against LightningDiT's own loop in PyTorch on the same CPU, float32 and bf16 autocast: a process
 * for each, in interleaved rounds. Prints medians of the ratios round by round.
 *
 *   LIGHTNINGDIT=clone VTP_PYTHON=python npx tsx bench/train.ts [--hidden 384 --heads 6 --depth 12] [--batch 8] [--steps 4] [--rounds 3]
 *
 * Time is processor time, which says more than the clock on a machine that others use at the same time.
 */
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { pairedRatio, printTable } from './support/measure.js'

const { values } = parseArgs({
  options: {
    hidden: { type: 'string', default: '384' },
    heads: { type: 'string', default: '6' },
    depth: { type: 'string', default: '12' },
    batch: { type: 'string', default: '8' },
    steps: { type: 'string', default: '4' },
    rounds: { type: 'string', default: '3' },
  },
})
const { hidden, heads, depth, batch, steps } = values
const clone = process.env.LIGHTNINGDIT
if (!clone) throw new Error('LIGHTNINGDIT names a clone of LightningDiT')

interface Measured {
  cpu: number
  wall: number
  peakMib: number
}
const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url))
const lastLine = (command: string, args: string[]): Measured =>
  JSON.parse(execFileSync(command, args, { encoding: 'utf8' }).trim().split('\n').at(-1)!) as Measured

function ours(): Measured {
  const shape = ['--hidden', hidden, '--heads', heads, '--depth', depth, '--batch', batch, '--steps', steps]
  return lastLine(process.execPath, ['--import', 'tsx', here('./train-step.ts'), ...shape])
}
function official(precision: string): Measured {
  const shape = [hidden, heads, depth, batch, steps]
  return lastLine(process.env.VTP_PYTHON ?? 'python3', [
    here('./support/official_train.py'),
    clone!,
    ...shape,
    precision,
  ])
}

const rounds: Record<'vtp' | 'fp32' | 'bf16', Measured[]> = { vtp: [], fp32: [], bf16: [] }
for (let round = 1; round <= Number(values.rounds); round++) {
  rounds.vtp.push(ours())
  rounds.fp32.push(official('fp32'))
  rounds.bf16.push(official('bf16'))
  const last = Object.entries(rounds).map(([name, all]) => `${name} ${all.at(-1)!.cpu.toFixed(2)} s`)
  process.stderr.write(`round ${round}: ${last.join(', ')}\n`)
}
const ratio = (key: keyof Measured, peer: 'fp32' | 'bf16'): string =>
  pairedRatio(
    rounds.vtp.map((one) => one[key]),
    rounds[peer].map((one) => one[key]),
  ).toFixed(2)
printTable(
  `${hidden} wide, ${depth} blocks, batch ${batch}: vtp ÷ PyTorch, medians of ${values.rounds} rounds`,
  (['fp32', 'bf16'] as const).map((peer) => [
    peer,
    `processor time ${ratio('cpu', peer)} · time ${ratio('wall', peer)} · peak memory ${ratio('peakMib', peer)}`,
  ]),
)
