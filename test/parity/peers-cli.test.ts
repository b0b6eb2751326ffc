/** Every family through the built commands: what users get from PNG files and latents is within the reference's tolerances. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import sharp from 'sharp'
import { beforeAll, describe, expect, it } from 'vitest'
import { encodePng } from '../../src/image/png.js'
import { encodeSafetensorsHeader } from '../../src/io/safetensors.js'
import { goldenPath } from '../golden.js'
import { repoRoot, sharedTempDir } from '../support/cli.js'
import { outputHashes, readTensor } from '../support/parts.js'
import { openPeerCase, PEER_CASES, type PeerCase, relativeErrors } from '../support/peers.js'
import { runHere } from '../support/run-here.js'

const FORMATS = ['arrow', 'parquet', 'arrow', 'parquet', 'arrow'] as const

/** Names of the reference data that shards do not hold. */
const HIDDEN =
  /^(layer_|text|logits_per|registers|pos_embed_used|decoded|sample_noise|latents_sample|resized|codes_embedded|pre_quant|clip_features|pooled|logvar|encoder_tokens|quant_features|latents_tokens)/

const root = sharedTempDir()

/** Stops with what the program said. */
async function vtp(...args: string[]): Promise<void> {
  const { code, stderr } = await runHere(args)
  expect({ code, stderr }).toEqual({ code: 0, stderr: expect.any(String) })
}

async function integers({ golden }: PeerCase, key: string): Promise<number[]> {
  return Array.from(new BigInt64Array((await golden.readBytes(key)).slice().buffer), Number)
}

/** PNG files `0.png` … of the images that a case was made of. */
async function writeImages({ golden }: PeerCase, folder: string): Promise<{ height: number; width: number }> {
  const [count = 0, height = 0, width = 0] = golden.tensors.get('in.pixels_u8')!.shape
  const bytes = await golden.readBytes('in.pixels_u8')
  const size = height * width * 3
  mkdirSync(folder, { recursive: true })
  for (let i = 0; i < count; i++) {
    const data = bytes.slice(i * size, (i + 1) * size)
    writeFileSync(path.join(folder, `${i}.png`), await encodePng({ data, height, width }))
  }
  return { height, width }
}

/** A safetensors shard, as any other program would write latents. */
function writeLatents(file: string, values: Float32Array, shape: readonly number[]): void {
  const { bytes } = encodeSafetensorsHeader([{ name: 'latents', dtype: 'F32', shape: [...shape] }])
  mkdirSync(path.dirname(file), { recursive: true })
  writeFileSync(file, Buffer.concat([bytes, Buffer.from(values.buffer, values.byteOffset, values.byteLength)]))
}

describe.each(PEER_CASES)('%s', (name, file) => {
  const model = goldenPath('peers', name, ...(file ? [file] : []))
  const images = path.join(root, name, 'images')
  const dest = path.join(root, name, 'rows')
  const format = FORMATS[PEER_CASES.findIndex(([each]) => each === name) % FORMATS.length]!
  let peer: PeerCase
  let keys: string[]
  let common: string[]
  beforeAll(async () => {
    peer = await openPeerCase(name)
    const { height, width } = await writeImages(peer, images)
    keys = Object.keys(peer.expected.outputs).filter(
      (key) => !HIDDEN.test(key) || /^layer_\d+_(cls|patches)$/.test(key),
    )
    const layers = peer.expected.spec.layers ?? []
    const outputs = [...new Set(keys.map((key) => (key.startsWith('layer_') ? 'layers' : key)))]
    common = [
      '--model',
      model,
      '--transform',
      `center-crop(${height},${width})`,
      '--outputs',
      outputs.join(','),
      '--dtype',
      'float32',
      '--workers',
      '1',
    ]
    if (layers.length > 0 && outputs.includes('layers')) common.push('--layers', `${layers.join(',')},`)
    await vtp('encode', images, '--out', dest, '--format', format, ...common)
  }, 120_000)

  it('encode gives every output within its tolerance, whole numbers exactly', async () => {
    expect(keys.length).toBeGreaterThan(0)
    for (const key of keys) {
      const actual = [...(await readTensor(dest, key)).values()].flat()
      if (key === 'codes') {
        expect(actual).toEqual(await integers(peer, key))
        continue
      }
      const { tolerance } = peer.expected.outputs[key]!
      const error = relativeErrors(actual, await peer.golden.readFloat32(key))
      expect(error.rel_l2, `${key} rel_l2`).toBeLessThanOrEqual(tolerance!.rel_l2)
      expect(error.rel_max, `${key} rel_max`).toBeLessThanOrEqual(tolerance!.rel_max)
    }
  })

  // Of every family and size: peers.test.ts. Here for what is between the graph and the shard.
  if (['openclip_gelu', 'vavae'].includes(name))
    it('other batches and threads give the same bytes', async () => {
      const again = path.join(root, name, 'again')
      await vtp('encode', images, '--out', again, '--format', format, '--batch-size', '1', ...common)
      expect(outputHashes(again)).toEqual(outputHashes(dest))
    }, 60_000)

  it('decode gives the pictures that its script saves', async () => {
    const wanted = peer.golden.tensors.get('decoded_u8')
    if (!wanted) return expect(Object.keys(peer.expected.outputs)).not.toContain('latents')
    const out = path.join(root, name, 'pictures')
    const latents = peer.golden.tensors.get('latents')
    const shard = path.join(root, name, 'latents', 'latents_rank00_shard000.safetensors')
    const shape = latents?.shape ?? [1, 4, 2, 2]
    writeLatents(shard, latents ? await peer.golden.readFloat32('latents') : new Float32Array(16), shape)
    await vtp('decode', shard, '--model', model, '--out', out)
    const [count = 0, height = 0, width = 0] = wanted.shape
    const names = Array.from({ length: count }, (_, i) => i)
    const made = await Promise.all(
      names.map(async (i) => {
        const { data, info } = await sharp(path.join(out, `latents_rank00_shard000/${String(i).padStart(6, '0')}.png`))
          .raw()
          .toBuffer({ resolveWithObject: true })
        expect([info.height, info.width]).toEqual([height, width])
        return data
      }),
    )
    const actual = Buffer.concat(made)
    const bytes = await peer.golden.readBytes('decoded_u8')
    const { levels, fraction } = peer.expected.outputs.decoded_u8!.tolerance as unknown as {
      levels: number
      fraction: number
    }
    const off = Array.from(bytes, (value, i) => Math.abs(value - actual[i]!))
    expect(actual.length).toBe(bytes.length)
    expect(Math.max(...off)).toBeLessThanOrEqual(levels)
    expect(off.filter((value) => value > 0).length / off.length).toBeLessThanOrEqual(fraction)
  }, 60_000)
})

describe('vtp encode --latents sample', () => {
  const model = goldenPath('peers', 'vavae')
  it('draws by seed and key, the same in every batch and format, and says so', async () => {
    const images = path.join(root, 'drawn', 'images')
    await writeImages(await openPeerCase('vavae'), images)
    const encode = async (name: string, ...more: string[]): Promise<Record<string, string>> => {
      const out = path.join(root, 'drawn', name)
      const size = ['--image-size', '64', '--dtype', 'float32', '--workers', '1']
      await vtp('encode', images, '--out', out, '--model', model, ...size, ...more)
      return outputHashes(out)
    }
    const mean = await encode('mean')
    const drawn = await encode('drawn', '--latents', 'sample', '--seed', '3')
    expect(await encode('again', '--latents', 'sample', '--seed', '3', '--batch-size', '1')).toEqual(drawn)
    expect(drawn['part-00000.arrow']).not.toBe(mean['part-00000.arrow'])
    const latents = await readTensor(path.join(root, 'drawn', 'drawn'), 'latents')
    const means = await readTensor(path.join(root, 'drawn', 'mean'), 'latents')
    for (const [key, values] of latents) expect(relativeErrors(values, means.get(key)!).rel_l2).toBeGreaterThan(0.001)
    const manifest = readFileSync(path.join(root, 'drawn', 'drawn', '_manifest.json'), 'utf8')
    expect(manifest).toContain('noise by seed 3 and key')
    const other = ['encode', images, '--out', path.join(root, 'drawn', 'drawn'), '--model', model]
    const { code, stderr } = await runHere([...other, '--image-size', '64', '--dtype', 'float32'])
    expect(code).toBe(2)
    expect(stderr).toMatch(/latents: .*sample.* there, .*mean.* now/)
  }, 120_000)

  it('is refused for a model without a distribution', async () => {
    const images = path.join(repoRoot, 'fixtures', 'images')
    const { code, stderr } = await runHere(['encode', images, '--out', path.join(root, 'none'), '--latents', 'sample'])
    expect(code).toBe(2)
    expect(stderr).toContain('not a distribution')
  })
})
