/**
 * Compares a device with the CPU, network by network, and prints a table. Exits with 1 where one is further off than
 * the tolerance.
 *
 *   npx tsx scripts/gpu/parity.ts DEVICE MODEL… [--precision fp32] [--tolerance 0.001]
 *
 * Without a GPU the device `webgpu` runs on SwiftShader, a Vulkan driver in software that Debian's package
 * chromium-common holds:
 *
 *   VK_ICD_FILENAMES=/usr/lib/chromium/vk_swiftshader_icd.json XDG_RUNTIME_DIR=/tmp \
 *   LD_LIBRARY_PATH=/usr/lib/chromium npx tsx scripts/gpu/parity.ts webgpu MODEL
 */
import { parseArgs } from 'node:util'
import { relativeError } from '../../src/engine/attention-check.js'
import { chooseDevice } from '../../src/engine/choose-device.js'
import { cpuDevice, type Device } from '../../src/engine/device.js'
import type { TensorValue } from '../../src/engine/session.js'
import { openLane } from '../../src/engine/session-pool.js'
import type { GraphFile } from '../../src/graph/compile.js'
import { type ImageModel, openModel, type Precision } from '../../src/model/index.js'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { precision: { type: 'string', default: 'fp32' }, tolerance: { type: 'string', default: '0.001' } },
})
const [name = 'webgpu', ...models] = positionals
const device = chooseDevice({ device: name, precision: values.precision, requireGpu: false })
const IMAGES = 2

type Inputs = Record<string, TensorValue>

function fill<T extends Uint8Array | Float32Array>(data: T, value: (i: number) => number): T {
  for (let i = 0; i < data.length; i++) data[i] = value(i)
  return data
}

async function outputsOn(on: Device, graph: GraphFile, inputs: Inputs): Promise<Record<string, TensorValue>> {
  const session = await openLane(graph, on)
  try {
    return (await session.run(structuredClone(inputs))).outputs
  } finally {
    await session.close()
  }
}

interface Network {
  tower: string
  graph: GraphFile
  inputs: Inputs
}

async function* networks(model: ImageModel, precision: Precision, kind: string): AsyncGenerator<Network> {
  const { height, width } = model.imageSize
  const names = model.outputs({ height, width }).flatMap(({ name, dtype }) => (dtype === 'float32' ? [name] : []))
  const pixels = fill(new Uint8Array(IMAGES * height * width * 3), (i) => (i * 7919) % 251)
  const encoder = { height, width, outputs: names as ['latents'], dtype: 'float32' as const, precision, device: kind }
  yield {
    tower: 'encoder',
    graph: await model.compileEncoder(encoder),
    inputs: { pixels: { data: pixels, dtype: 'uint8', dims: [IMAGES, height, width, 3] } },
  }
  if (model.decoder) {
    const shape = model.decoder.latentShape({ height, width })
    const count = IMAGES * shape[0] * shape[1] * shape[2]
    const latents = fill(new Float32Array(count), (i) => 2 * Math.sin(i * 0.7))
    const [, h, w] = shape
    yield {
      tower: 'decoder',
      graph: await model.decoder.compile({ height: h, width: w, outputs: ['image'], precision }),
      inputs: { latents: { data: latents, dtype: 'float32', dims: [IMAGES, ...shape] } },
    }
  }
  if (model.text) {
    const { length } = model.text
    const data = BigInt64Array.from({ length: IMAGES * length }, (_, i) => BigInt(((i * 31) % 97) + 2))
    yield {
      tower: 'text',
      graph: await model.text.compile({ precision }),
      inputs: { ids: { data, dtype: 'int64', dims: [IMAGES, length] } },
    }
  }
}

let worst = 0
for (const at of models) {
  const model = await openModel(at)
  const cpu = networks(model, 'fp32', 'cpu')
  for await (const { tower, graph, inputs } of networks(model, device.precision, device.kind)) {
    const expected = await outputsOn(cpuDevice(), (await cpu.next()).value!.graph, inputs)
    const found = await outputsOn(device, graph, inputs)
    for (const [output, { data }] of Object.entries(expected)) {
      const error = relativeError(data as Float32Array, found[output]!.data as Float32Array)
      worst = Number.isNaN(error) ? Number.POSITIVE_INFINITY : Math.max(worst, error)
      console.log([model.name, tower, output, error.toExponential(1)].join('\t'))
    }
  }
  await model.close()
}
const passed = worst <= Number(values.tolerance)
console.log(`${device.summary}: ${passed ? 'within' : 'beyond'} ${values.tolerance} (worst ${worst.toExponential(1)})`)
if (!passed) process.exitCode = 1
