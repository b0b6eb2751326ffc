/**
 * Every output of every reference case, within the tolerance that the reference data gives: the official
 * PyTorch code against our graphs.
 */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import * as ort from '../../src/engine/runtime.js'
import { openSafetensors, type SafetensorsFile } from '../../src/io/safetensors.js'
import { decoderOf, type EncoderSpec, type ImageModel, openModel, textOf } from '../../src/model/index.js'
import { ropeTables } from '../../src/model/vtp/rope.js'
import { goldenPath } from '../golden.js'

interface Expected {
  suggested_tolerance: Record<string, { rel_l2: number; rel_max: number }>
}

const cacheDir = mkdtempSync(path.join(tmpdir(), 'vtp-parity-'))
afterAll(() => rmSync(cacheDir, { recursive: true, force: true }))

const cases = readdirSync(goldenPath('models')).filter((name) => statSync(goldenPath('models', name)).isDirectory())

/** ||a-b|| / ||b|| and max|a-b| / max|b|. */
function errors(a: Float32Array, b: Float32Array): { rel_l2: number; rel_max: number } {
  let [diff, norm, worst, largest] = [0, 0, 0, 0]
  for (let i = 0; i < b.length; i++) {
    const d = Math.abs(a[i]! - b[i]!)
    diff += d * d
    norm += b[i]! ** 2
    worst = Math.max(worst, Number.isNaN(d) ? Number.POSITIVE_INFINITY : d)
    largest = Math.max(largest, Math.abs(b[i]!))
  }
  return { rel_l2: Math.sqrt(diff / norm), rel_max: worst / largest }
}

type Outputs = Record<string, { data: Float32Array; dims: readonly number[] }>

async function runGraph(file: string, feeds: Record<string, ort.Tensor>): Promise<Outputs> {
  const session = await ort.InferenceSession.create(file, { intraOpNumThreads: 2 })
  const results = await session.run(feeds)
  const out: Outputs = {}
  for (const [name, tensor] of Object.entries(results))
    out[name] = { data: tensor.data as Float32Array, dims: tensor.dims }
  await session.release()
  return out
}

describe.each(cases)('%s', (name) => {
  let model: ImageModel
  let golden: SafetensorsFile
  let expected: Expected
  let encoded: Outputs
  let raw: Outputs
  let names: string[]

  const check = async (key: string, actual: Float32Array): Promise<void> => {
    const wanted = await golden.readFloat32(key)
    expect(actual.length, key).toBe(wanted.length)
    const tolerance = expected.suggested_tolerance[key]!
    const error = errors(actual, wanted)
    expect(error.rel_l2, `${key} rel_l2`).toBeLessThanOrEqual(tolerance.rel_l2)
    expect(error.rel_max, `${key} rel_max`).toBeLessThanOrEqual(tolerance.rel_max)
  }

  beforeAll(async () => {
    model = await openModel(goldenPath('models', name), { cacheDir })
    golden = await openSafetensors(goldenPath('models', name, 'cases.safetensors'))
    expected = JSON.parse(readFileSync(goldenPath('models', name, 'expected.json'), 'utf8')) as Expected
    names = [...golden.tensors.keys()]
    const dims = golden.tensors.get('in.image_u8')!.shape
    const [, height = 0, width = 0] = dims
    const depth = model.depth
    const outputs: EncoderSpec['outputs'] = ['latents', 'cls', 'patches', 'latent_cls', 'layers']
    if (model.text) outputs.push('clip', 'clip_features')
    const spec = {
      height,
      width,
      outputs,
      layers: Array.from({ length: depth }, (_, i) => i),
      dtype: 'float32',
      precision: 'fp32',
      device: 'cpu',
    } as const
    const pixels = new ort.Tensor('uint8', await golden.readBytes('in.image_u8'), dims)
    encoded = await runGraph((await model.compileEncoder(spec)).path, { pixels })
    raw = await runGraph((await model.compileEncoder({ ...spec, outputs: ['layers'], layersNorm: false })).path, {
      pixels,
    })
  })
  afterAll(async () => {
    await golden.close()
    await model.close()
  })

  it('every output of the encoder leaves one graph within tolerance', async () => {
    await check('reconstruction_latents', encoded.latents!.data)
    await check('last.bottleneck_False.cls', encoded.cls!.data)
    await check('last.bottleneck_False.patch', encoded.patches!.data)
    await check('last.bottleneck_True.cls', encoded.latent_cls!.data)
    if (!model.text) return
    await check('clip_image.normalize_True', encoded.clip!.data)
    await check('clip_image.normalize_False', encoded.clip_features!.data)
  })

  it('intermediate layers agree, with and without the final norm', async () => {
    const keys = names.filter((key) => key.startsWith('inter.'))
    expect(keys.length).toBeGreaterThan(0)
    for (const key of keys) {
      const match = /^inter\.n_([\d_]+)\.norm_(True|False)\.reshape_(True|False)\.(\d+)\.(cls|patch)$/.exec(key)!
      const list = match[1]!.split('_').map(Number)
      // One number is the last n blocks unless the file lists indices; a list is returned in layer order.
      const count = names.filter(
        (k) => k.startsWith(key.slice(0, key.indexOf(match[0].split('.').at(-2)!) - 1)) && k.endsWith('.cls'),
      ).length
      const depth = model.depth
      const blocks =
        list.length === 1 && count === list[0]
          ? Array.from({ length: count }, (_, i) => depth - count + i)
          : list.sort((a, b) => a - b)
      const block = blocks[Number(match[4])]!
      const source = match[2] === 'True' ? encoded : raw
      const tensor = source[`layer_${block}_${match[5] === 'cls' ? 'cls' : 'patches'}`]!
      const shape = golden.tensors.get(key)!.shape
      let actual = tensor.data
      if (match[3] === 'True' && match[5] === 'patch') {
        const [n = 0, c = 0, h = 0, w = 0] = shape // [N, D, h, w]
        actual = new Float32Array(actual.length)
        for (let b = 0; b < n; b++)
          for (let t = 0; t < h * w; t++)
            for (let k = 0; k < c; k++) actual[(b * c + k) * h * w + t] = tensor.data[(b * h * w + t) * c + k]!
      }
      await check(key, actual)
    }
  })

  it('the decoder gives the reference images, and its bytes cut off', async () => {
    if (!names.includes('decoded')) return expect(model.decoder).toBeUndefined()
    const latents = golden.tensors.get('reconstruction_latents')!
    const feeds = {
      latents: new ort.Tensor('float32', await golden.readFloat32('reconstruction_latents'), latents.shape),
    }
    const graph = await decoderOf(model).compile({
      height: latents.shape[2]!,
      width: latents.shape[3]!,
      outputs: ['pixels', 'image'],
    })
    const decoded = await runGraph(graph.path, feeds)
    await check('decoded', decoded.image!.data)
    const bytes = await golden.readBytes('decoded_u8')
    const ours = decoded.pixels!.data as unknown as Uint8Array
    expect(ours.length).toBe(bytes.length)
    let other = 0
    for (let i = 0; i < bytes.length; i++) {
      const difference = Math.abs(ours[i]! - bytes[i]!)
      expect(difference).toBeLessThanOrEqual(1)
      if (difference) other++
    }
    expect(other / bytes.length).toBeLessThan(0.001)
  })

  it('text features and CLIP logits agree', async () => {
    if (!model.text) return expect(names.some((key) => key.startsWith('clip_text'))).toBe(false)
    const { shape } = golden.tensors.get('in.tokens')!
    const bytes = await golden.readBytes('in.tokens')
    const ids = new BigInt64Array(bytes.slice().buffer)
    const graph = await textOf(model).compile({ outputs: ['clip', 'features'] })
    const text = await runGraph(graph.path, { ids: new ort.Tensor('int64', ids, shape) })
    await check('clip_text.normalize_True', text.clip!.data)
    await check('clip_text.normalize_False', text.features!.data)
    if (!names.includes('logits_per_image')) return expect(model.settings.text_pool_type).toBe('none')
    const { scale, bias } = await textOf(model).logitScale()
    const [n, t, d] = [encoded.clip!.dims[0]!, shape[0]!, textOf(model).dim]
    const logits = new Float32Array(n * t)
    const transposed = new Float32Array(n * t)
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < t; j++) {
        let dot = 0
        for (let k = 0; k < d; k++) dot += encoded.clip!.data[i * d + k]! * text.clip!.data[j * d + k]!
        logits[i * t + j] = scale * dot + bias
        transposed[j * n + i] = scale * dot + bias
      }
    }
    await check('logits_per_image', logits)
    await check('logits_per_text', transposed)
  })
})

it('the rotation tables equal the official ones bit for bit', async () => {
  const file = await openSafetensors(goldenPath('models', 'rope_tables.safetensors'))
  let compared = 0
  for (const name of file.tensors.keys()) {
    const match = /^(d\d+)_(\d+)x(\d+)\.cos$/.exec(name)
    if (!match) continue
    const periods = await file.readFloat32(`${match[1]}.periods`)
    const tables = ropeTables(periods, Number(match[2]), Number(match[3]))
    expect(tables.cos, name).toEqual(await file.readFloat32(name))
    expect(tables.sin, name).toEqual(await file.readFloat32(name.replace('cos', 'sin')))
    compared++
  }
  await file.close()
  expect(compared).toBeGreaterThan(20)
})

it('the reference data is there', () => {
  expect(existsSync(goldenPath('models', 'summary.json'))).toBe(true)
  expect(cases.length).toBeGreaterThanOrEqual(8)
})
