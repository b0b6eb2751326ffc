/**
 * Random weights that both sides can generate: the formula of the reference data (metrics section), as
 * files that look like the published ones. Made once per machine, in the temporary folder.
 */
import { mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { encodeTorchFile, type TensorToWrite } from '../../src/io/torch/write.js'
import { goldenPath } from '../golden.js'

const SEED = 7

function mix(value: number): number {
  let x = value
  x ^= x >>> 16
  x = Math.imul(x, 0x7feb352d)
  x ^= x >>> 15
  x = Math.imul(x, 0x846ca68b)
  x ^= x >>> 16
  return x >>> 0
}

/** Uniform numbers in 0…1 that depend on the name and the position alone. */
export function hashUniform(name: string, count: number, seed = SEED): Float64Array {
  let h = 0x811c9dc5
  for (let i = 0; i < name.length; i++) h = Math.imul(h ^ name.charCodeAt(i), 0x01000193)
  const s = mix(h ^ seed)
  const out = new Float64Array(count)
  for (let i = 0; i < count; i++) out[i] = mix((Math.imul(i, 0x9e3779b1) + s) | 0) / 2 ** 32
  return out
}

export function hashTensor(name: string, shape: number[]): TensorToWrite {
  const count = shape.reduce((a, b) => a * b, 1)
  const u = hashUniform(name, count)
  const data = new Float32Array(count)
  const lpips = /^lin\d/.test(name)
  const scale = Math.sqrt(24 / shape.slice(1).reduce((a, b) => a * b, 1))
  for (let i = 0; i < count; i++) {
    if (lpips) data[i] = (u[i]! * 2) / shape[1]!
    else if (/bn\.(weight|running_var)$/.test(name)) data[i] = 0.5 + u[i]!
    else if (name.endsWith('.weight')) data[i] = (u[i]! - 0.5) * scale
    else data[i] = (u[i]! - 0.5) * 0.2
  }
  return { name, shape, data }
}

/** A folder with Inception, VGG16 and LPIPS weights of the formula, under their published names. */
export function hashWeightsFolder(): string {
  const expected = JSON.parse(readFileSync(goldenPath('metrics', 'expected.json'), 'utf8')) as {
    inception_weights: Record<string, { shape: number[] }>
    lpips_weights: Record<string, { shape: number[] }>
  }
  const dir = path.join(tmpdir(), `vtp-test-weights-${SEED}`)
  const put = (file: string, weights: [string, { shape: number[] }][]): void => {
    const to = path.join(dir, file)
    if (statSync(to, { throwIfNoEntry: false })) return
    mkdirSync(dir, { recursive: true })
    const tensors = weights
      .filter(([name]) => !name.endsWith('num_batches_tracked'))
      .map(([name, { shape }]) => hashTensor(name, shape))
    writeFileSync(`${to}.${process.pid}`, encodeTorchFile(path.basename(file, '.pth'), tensors))
    renameSync(`${to}.${process.pid}`, to)
  }
  const lpips = Object.entries(expected.lpips_weights)
  put('pt_inception-2015-12-05-6726825d.pth', Object.entries(expected.inception_weights))
  put(
    'vgg16-397923af.pth',
    lpips.filter(([name]) => name.startsWith('features')),
  )
  put(
    'vgg.pth',
    lpips.filter(([name]) => name.startsWith('lin')),
  )
  return dir
}
