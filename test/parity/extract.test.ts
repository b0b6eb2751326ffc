/** The built program against the official feature extraction (generation/tools/extract_features_vtp.py). */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, it } from 'vitest'
import { openSafetensors } from '../../src/io/safetensors.js'
import { goldenPath } from '../golden.js'
import { runCli, tempDir } from '../support/cli.js'
import { place } from '../support/images.js'

interface Expected {
  dataset_order: string[]
  labels: number[]
  shards: Record<string, { metadata: Record<string, string>; tensors: Record<string, { shape: number[] }> }>
  'latents_stats.pt': Record<'mean' | 'std', { values: number[] }>
}

const relativeError = (a: Float32Array, b: Float32Array): number => {
  let [difference, norm] = [0, 0]
  for (let i = 0; i < b.length; i++) {
    difference += (a[i]! - b[i]!) ** 2
    norm += b[i]! ** 2
  }
  return Math.sqrt(difference / norm)
}

it('encode --format safetensors --flip writes what the reference writes', async () => {
  const golden = (name: string): string => goldenPath('lightningdit', 'extract', name)
  const expected = JSON.parse(readFileSync(golden('expected.json'), 'utf8')) as Expected
  const dir = tempDir()
  for (const name of expected.dataset_order) {
    place(goldenPath('preprocess', 'input', path.basename(name)), path.join(dir, 'images', name))
  }
  const out = path.join(dir, 'out')
  const model = goldenPath('lightningdit', 'gen_vtp')
  const args = [
    'encode',
    path.join(dir, 'images'),
    '--out',
    out,
    '--model',
    model,
    '--format',
    'safetensors',
    '--flip',
    '--transform',
    'adm-crop(128)',
  ]
  const run = await runCli(args)
  expect(run.stderr + run.code).toMatch(/0$/)

  const [name, shard] = Object.entries(expected.shards)[0]!
  const ours = await openSafetensors(path.join(out, name))
  const theirs = await openSafetensors(golden(name))
  expect(ours.metadata).toMatchObject(shard.metadata)
  expect([...ours.tensors.keys()].sort()).toEqual([...theirs.tensors.keys()].sort())
  for (const key of ['latents', 'latents_flip']) {
    expect(ours.tensors.get(key)!.shape).toEqual(theirs.tensors.get(key)!.shape)
    expect(ours.tensors.get(key)!.dtype).toBe('F32')
    expect(relativeError(await ours.readFloat32(key), await theirs.readFloat32(key)), key).toBeLessThan(2e-3)
  }
  const labels = new BigInt64Array((await ours.readBytes('labels')).slice().buffer)
  expect([...labels].map(Number)).toEqual(expected.labels)
  await ours.close()
  await theirs.close()

  const stats = await runCli(['stats', out, '--json'])
  const { mean, std } = JSON.parse(stats.stdout) as { mean: number[]; std: number[] }
  const { mean: wantedMean, std: wantedStd } = expected['latents_stats.pt']
  expect(relativeError(Float32Array.from(mean), Float32Array.from(wantedMean.values))).toBeLessThan(2e-3)
  expect(relativeError(Float32Array.from(std), Float32Array.from(wantedStd.values))).toBeLessThan(2e-3)
})
