/**
 * Resident memory over many runs of one session: it is level after the first hundred.
 *
 *   npx tsx bench/session-memory.ts [--runs 10000] [--precision fp32|int8] [--size 64] [--batch 2]
 */
import { parseArgs } from 'node:util'
import { effectiveCores } from '../src/engine/cores.js'
import { openSession } from '../src/engine/session.js'
import { openModel, type Precision } from '../src/model/index.js'
import { printTable } from './support/measure.js'

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '10000' },
    precision: { type: 'string', default: 'fp32' },
    size: { type: 'string', default: '64' },
    batch: { type: 'string', default: '2' },
  },
})
const [runs, size, batch] = [Number(values.runs), Number(values.size), Number(values.batch)]
const model = await openModel('nano')
const graph = await model.compileEncoder({
  height: size,
  width: size,
  outputs: ['latents', 'clip'],
  dtype: 'float16',
  precision: values.precision as Precision,
  device: 'cpu',
})
const session = await openSession({ path: graph.path, providers: ['cpu'], threads: effectiveCores() })
const megabytes = (): number => process.memoryUsage().rss / 2 ** 20
const rows: [string, string][] = []
let [low, high] = [Number.POSITIVE_INFINITY, 0]
for (let run = 1; run <= runs; run++) {
  const data = new Uint8Array(batch * size * size * 3).fill(run & 255)
  await session.run({ pixels: { data, dtype: 'uint8', dims: [batch, size, size, 3] } })
  if (run >= 1000) {
    low = Math.min(low, megabytes())
    high = Math.max(high, megabytes())
  }
  if (run === 100 || run === 1000 || run % Math.ceil(runs / 5) === 0)
    rows.push([`after ${run} runs`, `${megabytes().toFixed(1)} MiB`])
}
await session.close()
rows.push(['from run 1,000 on', `between ${low.toFixed(1)} and ${high.toFixed(1)} MiB`])
printTable(`resident memory, nano ${values.precision}, batches of ${batch} images of ${size}²`, rows)
