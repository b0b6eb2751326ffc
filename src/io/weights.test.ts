import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, it } from 'vitest'
import { tempDir } from '../../test/support/cli.js'
import { encodeSafetensorsHeader, type SafetensorsDtype } from './safetensors.js'
import { encodeTorchFile } from './torch/write.js'
import { openWeights, withoutWrappers } from './weights.js'

const BYTES: Partial<Record<SafetensorsDtype, (values: number[]) => Uint8Array>> = {
  F32: (values) => new Uint8Array(Float32Array.from(values).buffer),
  I64: (values) => new Uint8Array(BigInt64Array.from(values, BigInt).buffer),
}

function writeSafetensors(file: string, tensors: Record<string, { dtype: SafetensorsDtype; values: number[] }>): void {
  const entries = Object.entries(tensors).map(([name, { dtype, values }]) => ({ name, dtype, shape: [values.length] }))
  const { bytes, order } = encodeSafetensorsHeader(entries)
  const data = order.map(({ name, dtype }) => BYTES[dtype]!(tensors[name]!.values))
  writeFileSync(file, Buffer.concat([bytes, ...data]))
}

function writeTorch(file: string, tensors: Record<string, number[]>): void {
  const entries = Object.entries(tensors).map(([name, values]) => ({
    name,
    shape: [values.length],
    data: Float32Array.from(values),
  }))
  writeFileSync(file, encodeTorchFile('archive', entries))
}

it.each([
  ['model.safetensors', writeSafetensors],
  [
    'pytorch_model.bin',
    (file: string, t: Record<string, { values: number[] }>) =>
      writeTorch(file, Object.fromEntries(Object.entries(t).map(([name, { values }]) => [name, values]))),
  ],
] as const)('shards of %s that an index lists are one set of tensors', async (name, write) => {
  const folder = tempDir()
  const shard = (i: number): string => name.replace('.', `-0000${i}-of-00002.`)
  write(path.join(folder, shard(1)), { a: { dtype: 'F32', values: [1, 2] } })
  write(path.join(folder, shard(2)), { b: { dtype: 'F32', values: [3] } })
  const index = { metadata: {}, weight_map: { a: shard(1), b: shard(2) } }
  writeFileSync(path.join(folder, `${name}.index.json`), JSON.stringify(index))
  const weights = await openWeights(folder, `${name}.index.json`)
  expect([...weights.tensors.keys()]).toEqual(['a', 'b'])
  expect(weights.files.map((file) => path.basename(file))).toEqual([shard(1), shard(2)])
  expect([...(await weights.readFloat32('a')), ...(await weights.readFloat32('b'))]).toEqual([1, 2, 3])
  await expect(weights.readFloat32('c')).rejects.toMatchObject({ code: 'bad_checkpoint' })
  await weights.close()
})

it.each(['../other.safetensors', '/etc/passwd', 'a/b.safetensors', '.hidden.bin', 'x.pkl'])(
  'an index that names %s is refused: shards never leave the folder',
  async (shard) => {
    const folder = tempDir()
    const file = path.join(folder, 'model.safetensors.index.json')
    writeFileSync(file, JSON.stringify({ weight_map: { a: shard } }))
    await expect(openWeights(folder, path.basename(file))).rejects.toMatchObject({ code: 'bad_index' })
  },
)

it('integers are read as they are, and not as floats', async () => {
  const folder = tempDir()
  writeSafetensors(path.join(folder, 'w.safetensors'), {
    position: { dtype: 'I64', values: [2 ** 40 + 1, -3] },
    scale: { dtype: 'F32', values: [0.5] },
  })
  const weights = await openWeights(folder, 'w.safetensors')
  expect(await weights.readIntegers('position')).toEqual([2 ** 40 + 1, -3])
  await expect(weights.readFloat32('position')).rejects.toMatchObject({ code: 'bad_dtype' })
  await expect(weights.readIntegers('scale')).rejects.toMatchObject({ code: 'bad_dtype' })
  await weights.close()
})

it('wrappers of distributed and compiled models are taken off names; two tensors may not end up with one name', async () => {
  const folder = tempDir()
  writeTorch(path.join(folder, 'w.pt'), { 'module._orig_mod.a': [1], 'b.module.c': [2] })
  const weights = await openWeights(folder, 'w.pt', { rename: withoutWrappers })
  expect([...weights.tensors.keys()]).toEqual(['a', 'b.module.c'])
  await weights.close()
  writeTorch(path.join(folder, 'two.pt'), { 'module.a': [1], a: [2] })
  await expect(openWeights(folder, 'two.pt', { rename: withoutWrappers })).rejects.toMatchObject({
    code: 'bad_checkpoint',
    message: expect.stringContaining('"a" is there twice'),
  })
})
