/**
 * Graphs of lower precision against the exact one: what int8 and fp16 cost on the reference cases, and
 * that a row stays independent of its batch. (On the CPU, fp16 graphs run through casts of ONNX Runtime.)
 */
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { openSession, type TensorValue } from '../../src/engine/session.js'
import { compileGraph } from '../../src/graph/compile.js'
import { openSafetensors } from '../../src/io/safetensors.js'
import { openWeights } from '../../src/io/weights.js'
import {
  decoderOf,
  type EncoderSpec,
  type GraphFile,
  openModel,
  type Precision,
  textOf,
} from '../../src/model/index.js'
import type { VtpConfig } from '../../src/model/vtp/config.js'
import { buildEncoder } from '../../src/model/vtp/encoder.js'
import { goldenPath } from '../golden.js'

const cacheDir = mkdtempSync(path.join(tmpdir(), 'vtp-precision-'))
afterAll(() => rmSync(cacheDir, { recursive: true, force: true }))

const cases = readdirSync(goldenPath('models')).filter((name) => statSync(goldenPath('models', name)).isDirectory())

type Feeds = Record<string, TensorValue>

/** Through the program's own sessions: their settings are part of what keeps int8 exact. */
async function runGraph(graph: GraphFile, batches: Feeds[]): Promise<Record<string, Float32Array>[]> {
  const session = await openSession({ path: graph.path, providers: ['cpu'], threads: 2 })
  const out: Record<string, Float32Array>[] = []
  for (const feeds of batches) {
    // A session takes its inputs away.
    const { outputs } = await session.run(structuredClone(feeds))
    out.push(Object.fromEntries(Object.entries(outputs).map(([name, { data }]) => [name, data as Float32Array])))
  }
  await session.close()
  return out
}

/** ||a − b|| / ||b|| */
function distance(a: Float32Array, b: Float32Array): number {
  let [diff, norm] = [0, 0]
  for (let i = 0; i < b.length; i++) {
    diff += (a[i]! - b[i]!) ** 2
    norm += b[i]! ** 2
  }
  return Math.sqrt(diff / norm)
}

/**
 * Larger than what was seen on the reference cases by half. 8-bit sums that overflow (session-worker.ts) give 9 to
 * 29 %, a wrong scale or bias 100 %.
 */
const LIMITS: [Precision, number][] = [
  ['int8', 0.06],
  ['fp16', 0.03],
]

describe.each(cases)('%s', (name) => {
  it('int8 and fp16 give the outputs of fp32 but for their roundings, in all three towers', async () => {
    const model = await openModel(goldenPath('models', name), { cacheDir })
    const golden = await openSafetensors(goldenPath('models', name, 'cases.safetensors'))
    const dims = golden.tensors.get('in.image_u8')!.shape
    const [, height = 0, width = 0] = dims
    const outputs: EncoderSpec['outputs'] = ['latents', 'cls', 'patches', 'layers']
    if (model.text) outputs.push('clip')
    const feeds: Feeds = { pixels: { data: await golden.readBytes('in.image_u8'), dtype: 'uint8', dims } }
    const encode = async (precision: Precision) => {
      const spec = { height, width, outputs, layers: [1], dtype: 'float32' as const, precision, device: 'cpu' }
      return (await runGraph(await model.compileEncoder(spec), [feeds]))[0]!
    }
    const exact = await encode('fp32')
    for (const [precision, limit] of LIMITS) {
      const lower = await encode(precision)
      expect(Object.keys(lower)).toEqual(Object.keys(exact))
      for (const key of Object.keys(exact)) {
        const error = distance(lower[key]!, exact[key]!)
        expect(error, `${precision} ${key}`).toBeLessThan(limit)
        expect(error, `${precision} ${key} is another graph`).toBeGreaterThan(0)
      }
    }

    if (model.decoder) {
      const shape = golden.tensors.get('reconstruction_latents')!.shape
      const latents = { data: await golden.readFloat32('reconstruction_latents'), dtype: 'float32', dims: shape }
      const decode = async (precision: Precision) => {
        const grid = { height: shape[2]!, width: shape[3]!, outputs: ['image' as const], precision }
        return (await runGraph(await decoderOf(model).compile(grid), [{ latents }]))[0]!.image!
      }
      const image = await decode('fp32')
      for (const [precision, limit] of LIMITS)
        expect(distance(await decode(precision), image), `${precision} image`).toBeLessThan(limit)
    }
    if (model.text) {
      const bytes = await golden.readBytes('in.tokens')
      const ids = {
        data: new BigInt64Array(bytes.slice().buffer),
        dtype: 'int64',
        dims: golden.tensors.get('in.tokens')!.shape,
      }
      const embed = async (precision: Precision) =>
        (await runGraph(await textOf(model).compile({ precision }), [{ ids }]))[0]!.clip!
      const text = await embed('fp32')
      for (const [precision, limit] of LIMITS)
        expect(distance(await embed(precision), text), `${precision} text`).toBeLessThan(limit)
    }
    await golden.close()
    await model.close()
  })
})

it('a few loud channels in every norm cost int8 little: they are multiplied in float32', async () => {
  const model = await openModel(goldenPath('models', 'vtp_a_default256'), { cacheDir })
  const golden = await openSafetensors(goldenPath('models', 'vtp_a_default256', 'cases.safetensors'))
  const dims = golden.tensors.get('in.image_u8')!.shape
  const [, height = 0, width = 0] = dims
  const feeds: Feeds = { pixels: { data: await golden.readBytes('in.image_u8'), dtype: 'uint8', dims } }
  const one = feeds.pixels!.data.slice(0, height * width * 3)
  const first: Feeds = { pixels: { data: one, dtype: 'uint8', dims: [1, ...dims.slice(1)] } }
  const weights = await openWeights(goldenPath('models', 'vtp_a_default256'), 'model.safetensors')
  const read = async (name: string): Promise<Float32Array> => {
    const values = (await weights.readFloat32(name)).slice()
    if (/^trunk\.blocks\.\d+\.norm\d\.weight$/.test(name)) for (const channel of [5, 71]) values[channel]! *= 30
    return values
  }
  const encode = async (precision: Precision) => {
    const outputs: EncoderSpec['outputs'] = ['layers']
    const spec = { height, width, outputs, layers: [1], dtype: 'float32' as const, precision, device: 'cpu' }
    const graph = await compileGraph({
      cacheDir,
      modelDigest: model.digest,
      tower: 'loud',
      precision,
      spec,
      build: (builder) => buildEncoder(builder, model.settings as VtpConfig, read, spec),
    })
    const [all, alone] = await runGraph(graph, [feeds, first])
    expect(alone!.layer_1_patches).toEqual(all!.layer_1_patches!.subarray(0, alone!.layer_1_patches!.length))
    return all!.layer_1_patches!
  }
  // 4.7 % after the second block; 12.2 % where these channels are rounded to 8 bits with the others.
  expect(distance(await encode('int8'), await encode('fp32'))).toBeLessThan(0.07)
  await golden.close()
  await model.close()
})

it.each(['fp32', 'int8', 'fp16'] as const)(
  '%s: a row is the same bits in every batch and at every place',
  async (precision) => {
    const model = await openModel('nano', { cacheDir })
    const outputs: EncoderSpec['outputs'] = ['latents', 'clip', 'cls', 'patches']
    const spec = { height: 64, width: 96, outputs, dtype: 'float32', precision, device: 'cpu' } as const
    const size = 64 * 96 * 3
    const images = Uint8Array.from({ length: 5 * size }, (_, i) => Math.imul(i, 2654435761) >>> 24)
    const batch = (first: number, count: number): Feeds => ({
      pixels: { data: images.slice(first * size, (first + count) * size), dtype: 'uint8', dims: [count, 64, 96, 3] },
    })
    const [all, alone, pair] = await runGraph(await model.compileEncoder(spec), [batch(0, 5), batch(3, 1), batch(2, 2)])
    for (const [key, values] of Object.entries(all!)) {
      const row = values.length / 5
      const fourth = values.subarray(3 * row, 4 * row)
      expect(alone![key], key).toEqual(fourth)
      expect(pair![key]!.subarray(row), key).toEqual(fourth)
    }
    await model.close()
  },
)

it('the simulated bf16 errs as the official code does under autocast', async () => {
  const keys = {
    latents: 'reconstruction_latents',
    cls: 'last.bottleneck_False.cls',
    clip: 'clip_image.normalize_True',
  }
  let compared = 0
  for (const name of cases) {
    const golden = await openSafetensors(goldenPath('models', name, 'cases.safetensors'))
    if (golden.tensors.has('bf16_autocast.reconstruction_latents')) {
      const model = await openModel(goldenPath('models', name), { cacheDir })
      const dims = golden.tensors.get('in.image_u8')!.shape
      const [, height = 0, width = 0] = dims
      const pixels = { data: await golden.readBytes('in.image_u8'), dtype: 'uint8', dims }
      const outputs = (Object.keys(keys) as (keyof typeof keys)[]).filter((o) => golden.tensors.has(keys[o]))
      const spec = { height, width, outputs, dtype: 'float32' as const, device: 'cpu' }
      const [run] = await runGraph(await model.compileEncoder({ ...spec, precision: 'bf16-simulated' }), [{ pixels }])
      for (const output of outputs) {
        const exact = await golden.readFloat32(keys[output])
        const official = distance(await golden.readFloat32(`bf16_autocast.${keys[output]}`), exact)
        const ours = distance(run![output]!, exact)
        expect(ours / official, `${name} ${output}`).toBeGreaterThan(0.6)
        expect(ours / official, `${name} ${output}`).toBeLessThan(1.5)
        compared++
      }
      await model.close()
    }
    await golden.close()
  }
  expect(compared).toBeGreaterThan(3)
})
