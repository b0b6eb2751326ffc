/**
 * Images per second of the encoder (latents) of a random checkpoint on a device, with as many runs in flight as
 * `vtp encode` keeps: pixels go to the device, latents come back. One JSON line per measurement.
 *
 *   npx tsx scripts/gpu/speed.ts DEVICE --shape S|B|L --batches 32,128 --precisions fp16,bf16,fp32 [--seconds 3]
 *     --models FOLDER
 */
import { parseArgs } from 'node:util'
import { randomCheckpoint, type ShapeName } from '../../bench/support/random-checkpoint.js'
import { chooseDevice } from '../../src/engine/choose-device.js'
import { runsInFlight } from '../../src/engine/device.js'
import { openNetwork } from '../../src/engine/session-pool.js'
import { errorText } from '../../src/errors.js'
import { openModel } from '../../src/model/index.js'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    shape: { type: 'string', default: 'B' },
    batches: { type: 'string', default: '32,128' },
    precisions: { type: 'string', default: 'fp16' },
    seconds: { type: 'string', default: '3' },
    models: { type: 'string', default: 'gpu-models' },
  },
})
const [name = 'cuda'] = positionals
const model = await openModel(await randomCheckpoint(values.models, values.shape as ShapeName))
const { height, width } = model.imageSize

async function measure(precision: string, batch: number): Promise<number> {
  const device = chooseDevice({ device: name, precision, requireGpu: false })
  const graph = await model.compileEncoder({
    height,
    width,
    outputs: ['latents'],
    dtype: 'float16',
    precision: device.precision,
    device: device.kind,
  })
  const session = await openNetwork(graph, { device, batchSize: batch })
  const pixels = Uint8Array.from({ length: batch * height * width * 3 }, (_, i) => Math.imul(i, 2654435761) >>> 24)
  const run = () => session.run({ pixels: { data: pixels.slice(), dtype: 'uint8', dims: [batch, height, width, 3] } })
  try {
    const lanes = runsInFlight(device)
    // Every lane chooses its kernels in its first run.
    for (let i = 0; i < 2; i++) await Promise.all(Array.from({ length: lanes }, run))
    const began = performance.now()
    const seconds = (): number => (performance.now() - began) / 1000
    let images = 0
    const lane = async (): Promise<void> => {
      do {
        await run()
        images += batch
      } while (seconds() < Number(values.seconds))
    }
    await Promise.all(Array.from({ length: lanes }, lane))
    return images / seconds()
  } finally {
    await session.close()
  }
}

for (const precision of values.precisions.split(',')) {
  for (const batch of values.batches.split(',').map(Number)) {
    const row = { side: 'vtp', device: name, shape: values.shape, precision, batch }
    try {
      console.log(JSON.stringify({ ...row, rate: await measure(precision, batch) }))
    } catch (error) {
      console.log(JSON.stringify({ ...row, problem: errorText(error).split('\n')[0] }))
    }
  }
}
await model.close()
