/** A family that only a folder and one entry of the registry make known goes through the same code as VTP. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { cpuDevice } from '../src/engine/device.js'
import { encodePng } from '../src/image/png.js'
import { encodeSafetensorsHeader } from '../src/io/safetensors.js'
import { findShards, openShard } from '../src/io/shards/index.js'
import { openModel, textOf } from '../src/model/index.js'
import { FAMILIES } from '../src/model/registry.js'
import { runDecode } from '../src/pipeline/decode.js'
import { runEncode } from '../src/pipeline/encode.js'
import type { Output } from '../src/pipeline/outputs.js'
import { openEmbedder } from '../src/retrieval/embedder.js'
import { CHANNELS, PATCH, toy } from './support/toy-family/family.js'

const root = mkdtempSync(path.join(tmpdir(), 'vtp-toy-'))
const model = path.join(root, 'toy-model')
const images = path.join(root, 'images')
const cacheDir = path.join(root, 'cache')
const engine = cpuDevice({ cores: 1 })

/** Images of one grey: light, and dark. */
const GREYS = { 'a.png': 200, 'b.png': 40 }
const png = (grey: number) => encodePng({ data: new Uint8Array(40 * 40 * 3).fill(grey), height: 40, width: 40 })

beforeAll(async () => {
  FAMILIES.push(toy)
  mkdirSync(model)
  mkdirSync(images)
  writeFileSync(path.join(model, 'config.json'), '{"model_type":"toy"}')
  // Every channel is the mean of its patch, in −1…1.
  const weight = new Float32Array(CHANNELS * 3 * PATCH * PATCH).fill(1 / (3 * PATCH * PATCH))
  const header = encodeSafetensorsHeader([{ name: 'patches.weight', dtype: 'F32', shape: [CHANNELS, 3, PATCH, PATCH] }])
  writeFileSync(path.join(model, 'toy.safetensors'), Buffer.concat([header.bytes, new Uint8Array(weight.buffer)]))
  for (const [name, grey] of Object.entries(GREYS)) writeFileSync(path.join(images, name), await png(grey))
})
afterAll(() => {
  FAMILIES.splice(FAMILIES.indexOf(toy), 1)
  rmSync(root, { recursive: true, force: true })
})

const encode = (dest: string, outputs: Output[], changes = {}) =>
  runEncode({
    source: images,
    dest: path.join(root, dest),
    model,
    cacheDir,
    outputs,
    layersNorm: true,
    flip: false,
    format: 'arrow',
    dtype: 'float32',
    shardRows: 100,
    precision: 'fp32',
    device: 'cpu',
    overwrite: false,
    batchSize: 2,
    threads: { encode: 1, preprocess: 1 },
    engine,
    worker: { index: 0, count: 1 },
    helpOthers: false,
    maxPixels: 1e6,
    checkpointSeconds: 60,
    processor: 'x',
    ...changes,
  })

it('encodes and decodes, with its own transform, sizes and rounding', async () => {
  const result = await encode('latents', ['latents', 'clip'])
  expect(result).toMatchObject({ rows: 2, rejects: 0, complete: true })
  const shard = await openShard((await findShards(path.join(root, 'latents')))[0]!)
  expect(shard.provenance['vtp.transform']).toBe('resize(32,32,bicubic)')
  for await (const { tensors } of shard.read(['latents', 'clip'], 2)) {
    expect(tensors.latents!.length).toBe(2 * CHANNELS * 4 * 4)
    expect(tensors.latents![0]).toBeCloseTo((200 / 255 - 0.5) / 0.5, 5)
    expect(tensors.clip![0]).toBeCloseTo(0.5, 5)
    expect(tensors.clip![CHANNELS]).toBeCloseTo(-0.5, 5)
  }
  await shard.close()
  const out = path.join(root, 'decoded')
  const input = path.join(root, 'latents')
  const decoded = await runDecode({ input, out, model, cacheDir, device: engine, sideBySide: false, anyModel: false })
  expect(decoded.images).toBe(2)
  const { default: sharp } = await import('sharp')
  for (const [name, grey] of Object.entries(GREYS)) {
    const { data, info } = await sharp(path.join(out, name)).raw().toBuffer({ resolveWithObject: true })
    expect([info.width, info.height]).toEqual([32, 32])
    expect(Math.abs(data[0]! - grey)).toBeLessThanOrEqual(1)
  }
})

it('embeds images for a search; texts are refused with its own reason', async () => {
  const embedder = await openEmbedder({ model, cacheDir, device: engine })
  try {
    expect(embedder.dim).toBe(CHANNELS)
    const vector = await embedder.image(await png(200))
    expect([...vector].map((value) => Number(value.toFixed(4)))).toEqual([0.5, 0.5, 0.5, 0.5])
    await expect(embedder.texts(['a cat'])).rejects.toMatchObject({ code: 'no_text_tower' })
    await expect(embedder.texts(['a cat'])).rejects.toThrow('a toy reads no texts')
  } finally {
    await embedder.close()
  }
})

it('what it lacks is refused by name, and so is a precision that it does not offer', async () => {
  await expect(encode('cls', ['cls'])).rejects.toMatchObject({ code: 'output_unavailable', exitCode: 2 })
  await expect(encode('layers', ['layers'], { layers: { last: 1 } })).rejects.toMatchObject({
    code: 'output_unavailable',
  })
  await expect(encode('int8', ['latents'], { precision: 'int8' })).rejects.toThrow('it is a toy')
  const opened = await openModel(model, { cacheDir })
  expect(() => textOf(opened)).toThrow('toy-model has no text tower (a toy reads no texts)')
  await opened.close()
})
