/**
 * `vtp eval-recon` against the official script (with pytorch-fid), both as whole commands at float32, in
 * interleaved rounds on the same images. Build first (npm run build).
 *
 *   VTP_OFFICIAL=CLONE VTP_PYTHON=PYTHON npx tsx bench/eval-recon.ts SOURCE [--limit 32] [--rounds 2] [--model DIR]
 */
import { parseArgs } from 'node:util'
import { prepareReconRuns } from '../test/interop/recon-runs.js'
import { interleave, median, pairedRatio, printTable } from './support/measure.js'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    limit: { type: 'string', default: '32' },
    rounds: { type: 'string', default: '2' },
    batch: { type: 'string', default: '16' },
    model: { type: 'string' },
  },
})
const runs = prepareReconRuns(positionals[0], { ...values, limit: Number(values.limit), batch: Number(values.batch) })
try {
  const rate = (seconds: number): number => runs.images / seconds
  const results = await interleave(Number(values.rounds), {
    'vtp eval-recon': async () => rate(runs.ours().seconds),
    'official script': async () => rate(runs.official().seconds),
  })
  const [ours, official] = [results['vtp eval-recon']!, results['official script']!]
  printTable(`Reconstruction, ${runs.images} images, ${runs.model}, fp32`, [
    ['vtp eval-recon', `${median(ours).toFixed(2)} images/s`],
    ['official script', `${median(official).toFixed(2)} images/s`],
    ['ratio (paired)', pairedRatio(ours, official).toFixed(2)],
  ])
} finally {
  runs.close()
}
