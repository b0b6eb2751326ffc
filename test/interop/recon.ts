/**
 * `vtp eval-recon` beside the official script with pytorch-fid, on the same images, with random weights of
 * the reference formula for Inception, VGG16 and LPIPS. Prints both results and their differences.
 *
 *   VTP_OFFICIAL=CLONE VTP_PYTHON=PYTHON npx tsx test/interop/recon.ts SOURCE [--limit 500] [--model DIR]
 */
import { parseArgs } from 'node:util'
import { prepareReconRuns } from './recon-runs.js'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    limit: { type: 'string', default: '500' },
    batch: { type: 'string', default: '32' },
    model: { type: 'string' },
  },
})
const runs = prepareReconRuns(positionals[0], { ...values, limit: Number(values.limit), batch: Number(values.batch) })
try {
  const ours = runs.ours()
  const official = runs.official()
  console.log(`${runs.images} images, model ${runs.model}, batches of ${values.batch}`)
  for (const name of ['rfid', 'psnr', 'ssim', 'lpips'] as const) {
    const [a, b] = [ours[name], official[name]]
    console.log(
      `${name.padEnd(6)} ours ${a.toFixed(7)}  official ${b.toFixed(7)}  difference ${(a - b).toExponential(2)}`,
    )
  }
} finally {
  runs.close()
}
