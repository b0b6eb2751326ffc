/**
 * Reference cases on a device: every output that the official code left for a case, against what the device gives for
 * the same inputs through the sessions that the program opens. For the tests of WebGPU and for scripts/gpu/parity.ts.
 */
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import type { Device } from '../../src/engine/device.js'
import type { Session, TensorValue } from '../../src/engine/session.js'
import { openLane } from '../../src/engine/session-pool.js'
import type { GraphFile } from '../../src/graph/compile.js'
import { openSafetensors, type SafetensorsFile } from '../../src/io/safetensors.js'
import { type EncoderSpec, type ImageModel, openModel } from '../../src/model/index.js'
import { goldenPath } from '../golden.js'
import { encoderKeys, type PeerExpected, relativeErrors, SAME_OUTPUT, type Tolerance } from './peers.js'

export interface ParityRow {
  case: string
  network: 'encoder' | 'decoder' | 'text'
  output: string
  /** ||found − expected|| by ||expected||; for codes the share of other ones. */
  rel_l2: number
  rel_max: number
  /** The case's own: three times the noise of the official code against itself in float32. */
  tolerance: Tolerance
  /** Seconds that the network took to open and to run once. */
  seconds: number
}

/** One network of a case: its inputs, and which of its outputs the reference data calls what. */
interface Check {
  network: ParityRow['network']
  compile(): Promise<GraphFile>
  feeds: Record<string, TensorValue>
  /** Output of the graph → name in the reference data. */
  keys: Record<string, string>
}

interface Case {
  model: ImageModel
  golden: SafetensorsFile
  tolerance(key: string): Tolerance | undefined
  checks: Check[]
}

const EXACT: Tolerance = { rel_l2: 0, rel_max: 0 }

/** VTP's outputs and the names of the reference data. */
const ENCODER_NAMES: Record<string, string> = {
  latents: 'reconstruction_latents',
  cls: 'last.bottleneck_False.cls',
  patches: 'last.bottleneck_False.patch',
  latent_cls: 'last.bottleneck_True.cls',
  clip: 'clip_image.normalize_True',
  clip_features: 'clip_image.normalize_False',
}

async function tensor(golden: SafetensorsFile, key: string, dtype: string): Promise<TensorValue> {
  const dims = golden.tensors.get(key)!.shape
  if (dtype === 'float32') return { data: await golden.readFloat32(key), dtype, dims }
  const bytes = (await golden.readBytes(key)).slice()
  return { data: dtype === 'int64' ? new BigInt64Array(bytes.buffer) : bytes, dtype, dims }
}

async function openVtp(folder: string, device: Device): Promise<Case> {
  const model = await openModel(folder)
  const golden = await openSafetensors(path.join(folder, 'cases.safetensors'))
  const { suggested_tolerance: tolerances } = JSON.parse(readFileSync(path.join(folder, 'expected.json'), 'utf8')) as {
    suggested_tolerance: Record<string, Tolerance>
  }
  const pixels = await tensor(golden, 'in.image_u8', 'uint8')
  const [, height = 0, width = 0] = pixels.dims
  const names = Object.keys(ENCODER_NAMES).filter((name) => golden.tensors.has(ENCODER_NAMES[name]!))
  const spec = { height, width, outputs: names as EncoderSpec['outputs'], dtype: 'float32' as const }
  const { precision, kind } = device
  const checks: Check[] = [
    {
      network: 'encoder',
      compile: () => model.compileEncoder({ ...spec, precision, device: kind }),
      feeds: { pixels },
      keys: Object.fromEntries(names.map((name) => [name, ENCODER_NAMES[name]!])),
    },
  ]
  if (model.decoder && golden.tensors.has('decoded'))
    checks.push(await decoderCheck(model, golden, 'reconstruction_latents', device))
  if (model.text && golden.tensors.has('in.tokens')) {
    const keys = { clip: 'clip_text.normalize_True', features: 'clip_text.normalize_False' }
    checks.push(await textCheck(model, golden, { ids: 'in.tokens', keys }, device))
  }
  return { model, golden, tolerance: (key) => tolerances[key], checks }
}

async function openPeer(folder: string, file: string | undefined, device: Device): Promise<Case> {
  const model = await openModel(file ? path.join(folder, file) : folder)
  const golden = await openSafetensors(path.join(folder, 'cases.safetensors'))
  const expected = JSON.parse(readFileSync(path.join(folder, 'expected.json'), 'utf8')) as PeerExpected
  const pixels = await tensor(golden, 'in.pixels_u8', 'uint8')
  const [, height = 0, width = 0] = pixels.dims
  const wanted = encoderKeys(expected)
  const outputs = [...new Set(wanted.map((key) => (key.startsWith('layer_') ? 'layers' : (SAME_OUTPUT[key] ?? key))))]
  const { precision, kind } = device
  const layers = expected.spec.layers ?? []
  const spec = { height, width, layers, outputs: outputs as EncoderSpec['outputs'], dtype: 'float32' as const }
  const checks: Check[] = [
    {
      network: 'encoder',
      compile: () => model.compileEncoder({ ...spec, precision, device: kind }),
      feeds: { pixels },
      keys: Object.fromEntries(wanted.map((key) => [SAME_OUTPUT[key] ?? key, key])),
    },
  ]
  if (model.decoder && golden.tensors.has('decoded')) checks.push(await decoderCheck(model, golden, 'latents', device))
  if (model.text && golden.tensors.has('in.ids'))
    checks.push(
      await textCheck(model, golden, { ids: 'in.ids', keys: { clip: 'text', features: 'text_features' } }, device),
    )
  return { model, golden, tolerance: (key) => expected.outputs[key]?.tolerance, checks }
}

async function decoderCheck(
  model: ImageModel,
  golden: SafetensorsFile,
  key: string,
  { precision }: Device,
): Promise<Check> {
  const latents = await tensor(golden, key, 'float32')
  const [, , height = 0, width = 0] = latents.dims
  return {
    network: 'decoder',
    compile: () => model.decoder!.compile({ height, width, outputs: ['image'], precision }),
    feeds: { latents },
    keys: { image: 'decoded' },
  }
}

async function textCheck(
  model: ImageModel,
  golden: SafetensorsFile,
  { ids, keys }: { ids: string; keys: Record<string, string> },
  { precision }: Device,
): Promise<Check> {
  return {
    network: 'text',
    compile: () => model.text!.compile({ outputs: ['clip', 'features'], precision }),
    feeds: { ids: await tensor(golden, ids, 'int64') },
    keys,
  }
}

export interface CaseChoice {
  /** The checkpoint, where a case is not a folder of its own. */
  file?: string
  /** Default: all that the case has. */
  networks?: readonly string[]
}

/** Compares a reference case, by its name or folder, with a device. */
export async function* compareCase(name: string, device: Device, choice: CaseChoice = {}): AsyncGenerator<ParityRow> {
  const folder = [name, goldenPath('models', name), goldenPath('peers', name)].find((at) =>
    existsSync(path.join(at, 'cases.safetensors')),
  )
  if (!folder) throw new Error(`no reference case ${name} in ${goldenPath()}`)
  const isVtp = path.basename(path.dirname(folder)) === 'models'
  const { model, golden, tolerance, checks } = isVtp
    ? await openVtp(folder, device)
    : await openPeer(folder, choice.file, device)
  try {
    for (const { network, compile, feeds, keys } of checks) {
      if (choice.networks && !choice.networks.includes(network)) continue
      const graph = await compile()
      const began = performance.now()
      const outputs = await runOn(device, graph, feeds)
      const seconds = (performance.now() - began) / 1000
      for (const [output, key] of Object.entries(keys)) {
        const error = await errorOf(golden, key, outputs[output]!)
        const allowed = key === 'codes' ? EXACT : tolerance(key)
        if (!allowed) throw new Error(`${name}: no tolerance of ${key}`)
        yield { case: path.basename(folder), network, output: key, ...error, tolerance: allowed, seconds }
      }
    }
  } finally {
    await golden.close()
    await model.close()
  }
}

async function runOn(
  device: Device,
  graph: GraphFile,
  feeds: Record<string, TensorValue>,
): Promise<Record<string, TensorValue>> {
  const session = await openLane(graph, device)
  await closeLast()
  last = session
  return (await session.run(structuredClone(feeds))).outputs
}

/** A session stays open until the next one is: WebGPU forgets the shaders that it has compiled when none is. */
let last: Session | undefined

/** Closes the session of the case that was compared last. */
export async function closeLast(): Promise<void> {
  await last?.close()
  last = undefined
}

async function errorOf(golden: SafetensorsFile, key: string, { data }: TensorValue): Promise<Tolerance> {
  if (key !== 'codes') {
    const wanted = await golden.readFloat32(key)
    if (wanted.length !== data.length) throw new Error(`${key} has ${data.length} values, not ${wanted.length}`)
    return relativeErrors(data as Float32Array, wanted)
  }
  const { data: wanted } = await tensor(golden, key, 'int64')
  const other = Array.from(wanted as BigInt64Array, (value, i) => Number(value) !== Number(data[i])).filter(Boolean)
  return { rel_l2: other.length / wanted.length, rel_max: other.length > 0 ? 1 : 0 }
}

/**
 * What sums of float32 in another order may cost: some cases allow less, since the official code against itself keeps
 * the order of its sums. Codes have no such room.
 */
const OTHER_ORDER: Tolerance = { rel_l2: 5e-5, rel_max: 5e-4 }

/** Whether an error is within what its case allows in float32. */
export function isWithin({ output, rel_l2, rel_max, tolerance }: ParityRow): boolean {
  const room = output === 'codes' ? EXACT : OTHER_ORDER
  return rel_l2 <= Math.max(tolerance.rel_l2, room.rel_l2) && rel_max <= Math.max(tolerance.rel_max, room.rel_max)
}
