/** The data of a training and fresh weights against the official classes (golden/train/data and init). */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { beforeAll, describe, expect, it } from 'vitest'
import { vtpStyle } from '../../bench/support/random-dit.js'
import { readLatentStats } from '../../src/generate/latent-stats.js'
import { openTensorFile, type TensorFile } from '../../src/io/tensor-file.js'
import type { DitConfig } from '../../src/model/lightningdit/config.js'
import { latentsStats } from '../../src/pipeline/ledger/stats.js'
import { isFlipped, keptLabel, timeInterval, timeOf } from '../../src/train/draws.js'
import { freshTensor } from '../../src/train/init.js'
import { normaliseLatents } from '../../src/train/latents.js'
import { openLatentRows } from '../../src/train/rows.js'
import { stateTensors } from '../../src/train/state.js'
import type { Transport } from '../../src/train/transport.js'
import { goldenPath } from '../golden.js'
import { tempDir } from '../support/cli.js'

const golden = (...parts: string[]): string => goldenPath('train', ...parts)
const json = <T>(...parts: string[]): T => JSON.parse(readFileSync(golden(...parts), 'utf8')) as T

describe('rows of latents', () => {
  it.each([
    [true, 1],
    [true, 0.18215],
    [false, 1],
    [false, 0.18215],
  ])(
    'with normalisation %s and multiplier %s they are the official ones, bit for bit',
    async (isNormal, multiplier) => {
      const rows = await openLatentRows(golden('data', 'shards'), { folder: tempDir() })
      const stats = isNormal ? await readLatentStats(golden('data', 'shards'), 6) : undefined
      const expected = await openTensorFile(golden('data', 'expected.safetensors'))
      expect([...rows.labels]).toEqual(await expected.readIntegers('labels'))
      const prefix = `norm_${isNormal ? 'True' : 'False'}.multiplier_${multiplier === 1 ? '1.0' : multiplier}`
      for (const [flipped, key] of [
        [false, 'latents'],
        [true, 'latents_flip'],
      ] as const) {
        const all = await expected.readFloat32(`${prefix}.${key}`)
        for (let row = 0; row < rows.rows; row++) {
          const mine = normaliseLatents(Float32Array.from(await rows.read(row, flipped)), stats, multiplier)
          expect(mine).toEqual(all.slice(row * 96, (row + 1) * 96))
        }
      }
      await Promise.all([rows.close(), expected.close()])
    },
  )

  it('statistics that are computed anew are the official ones', async () => {
    const expected = await openTensorFile(golden('data', 'expected.safetensors'))
    const { mean, std } = await latentsStats(golden('data', 'shards'), true)
    for (const [mine, key] of [
      [mean, 'mean'],
      [std, 'std'],
    ] as const) {
      const theirs = await expected.readFloat32(`computed_stats.${key}`)
      mine.forEach((value, c) => {
        expect(Math.abs(value - theirs[c]!)).toBeLessThan(1e-6)
      })
    }
    await expected.close()
  })
})

describe('draws', () => {
  let expected: TensorFile
  beforeAll(async () => {
    expected = await openTensorFile(golden('data', 'expected.safetensors'))
    return () => expected.close()
  })

  it('flips as the official loader', () => {
    for (const [u, key] of Object.entries(
      json<{ flip_rule: Record<string, string> }>('data', 'expected.json').flip_rule,
    ))
      expect(isFlipped(Number(u)), u).toBe(key === 'latents_flip')
  })

  it('drops the labels that the official model drops', async () => {
    const [u, y, wanted] = [
      await expected.readFloat32('label_drop.u'),
      await expected.readIntegers('label_drop.y'),
      await expected.readIntegers('label_drop.y_effective'),
    ]
    expect(y.map((label, i) => keptLabel(label, u[i]!, 0.1, 10))).toEqual(wanted)
  })

  it('times are the official ones, of every law and path', async () => {
    const normals = await expected.readFloat32('time.normals')
    const uniforms = await expected.readFloat32('time.uniforms')
    let compared = 0
    for (const name of expected.shapes.keys()) {
      const match = /^time\.(lognorm|uniform)\.(Linear|GVP|VP)\.(\w+)(?:\.mu([-\d.]+?)\.sigma([\d.]+))?$/.exec(name)
      if (!match) continue
      const [, law, path, prediction, mu, sigma] = match
      const transport = { path, prediction, lossWeight: 'none' } as Transport
      const lognorm = law === 'lognorm' ? { mu: Number(mu), sigma: Number(sigma) } : undefined
      const theirs = await expected.readFloat32(name)
      const drawn = lognorm ? normals : uniforms
      theirs.forEach((t, i) => {
        const mine = timeOf({ lognorm, interval: timeInterval(transport) }, drawn[i]!)
        expect(Math.abs(mine - t), `${name} ${i}`).toBeLessThan(4e-7)
      })
      compared++
    }
    expect(compared).toBeGreaterThan(8)
  })
})

describe('a fresh model', () => {
  interface Tensor {
    shape: number[]
    law?: string
    b?: number
    std: number
    buffer: boolean
  }

  it('has the laws of the official one', () => {
    const { constructor: c, tensors } = json<{
      small: { constructor: Record<string, number | boolean>; tensors: Record<string, Tensor> }
    }>('init', 'expected.json').small
    const config = {
      ...vtpStyle({ hiddenSize: Number(c.hidden_size), depth: Number(c.depth), numHeads: Number(c.num_heads) }),
      ...{ inputSize: Number(c.input_size), patchSize: Number(c.patch_size), inChannels: Number(c.in_channels) },
      ...{ numClasses: Number(c.num_classes), qkNorm: true, swiglu: false, rope: true, rmsNorm: false, woShift: true },
    } as DitConfig
    const fresh = freshTensor(config, 0)
    const wanted = Object.entries(tensors).filter(([, { buffer }]) => !buffer)
    expect([...stateTensors(config).keys()].sort()).toEqual(wanted.map(([name]) => name).sort())
    for (const [name, { law, b, std }] of wanted) {
      const values = fresh(name)
      const most = values.reduce((top, value) => Math.max(top, Math.abs(value)), 0)
      const spread = Math.sqrt(values.reduce((sum, value) => sum + value ** 2, 0) / values.length)
      // The spread of an estimate from so many values.
      const slack = 5 / Math.sqrt(values.length)
      if (law === 'zeros') expect(most, name).toBe(0)
      else if (law === 'ones') expect(new Set(values), name).toEqual(new Set([1]))
      else if (law?.startsWith('uniform')) {
        expect(most, name).toBeLessThanOrEqual(b!)
        expect(Math.abs(spread / (b! / Math.sqrt(3)) - 1), name).toBeLessThan(slack)
      } else if (law?.startsWith('normal')) expect(Math.abs(spread / 0.02 - 1), name).toBeLessThan(slack)
      else expect(name).toBe('pos_embed')
      expect(std).toBeGreaterThanOrEqual(0)
    }
  })

  it.each([
    ['96x4', { hiddenSize: 96, inputSize: 4, numHeads: 3 }],
    ['768x16', { hiddenSize: 768, inputSize: 16, numHeads: 12 }],
    ['1152x16', { hiddenSize: 1152, inputSize: 16, numHeads: 16 }],
  ])('the position embedding %s is the official one, bit for bit', (name, size) => {
    const expected = json<{ pos_embed: Record<string, { sha256_of_float32_little_endian: string }> }>(
      'init',
      'expected.json',
    )
    const values = freshTensor(vtpStyle({ ...size, depth: 1, patchSize: 1 }), 0)('pos_embed')
    const hash = createHash('sha256').update(new Uint8Array(values.buffer)).digest('hex')
    expect(hash).toBe(expected.pos_embed[name]!.sha256_of_float32_little_endian)
  })
})
