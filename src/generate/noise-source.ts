/** Where a sample's noise comes from: the generator (noise.ts), or rows of a given tensor. */
import { usageError } from '../errors.js'
import { fileDigest } from '../io/file-digest.js'
import { openTensorFile, type TensorFile } from '../io/tensor-file.js'
import { sampleNoise } from './noise.js'

export interface NoiseSource {
  /** What decides the values, for the plan. */
  readonly id: string
  /** Samples that there is noise for; undefined without a limit. */
  readonly rows: number | undefined
  /** [C, H, W] of one sample. */
  read(index: number): Promise<Float32Array>
  close(): Promise<void>
}

export function seededNoise(seed: number, size: number): NoiseSource {
  return {
    id: `philox4x32-10 seed ${seed}`,
    rows: undefined,
    read: async (index) => sampleNoise(seed, index, size),
    close: async () => {},
  }
}

/** "FILE#NAME" → file and the name of a tensor in it. */
export function splitTensorRef(ref: string): { file: string; name?: string } {
  const at = ref.lastIndexOf('#')
  return at <= 0 ? { file: ref } : { file: ref.slice(0, at), name: ref.slice(at + 1) }
}

/** The tensor that is meant: the named one, else one of the usual names, else the only one of this rank. */
export function pickTensor(file: TensorFile, name: string | undefined, usual: string[], rank: number): string {
  const names = [...file.shapes.keys()]
  const fitting = names.filter((n) => file.shapes.get(n)!.length === rank)
  const found =
    name === undefined
      ? (usual.find((n) => fitting.includes(n)) ?? (fitting.length === 1 ? fitting[0] : undefined))
      : names.find((n) => n === name)
  if (found !== undefined) return found
  const list = names.slice(0, 8).join(', ')
  throw usageError(
    'tensor_missing',
    name === undefined
      ? `Which tensor of ${file.path} is meant is not clear; it has ${list}`
      : `${file.path} has no tensor "${name}"; it has ${list}`,
    [`name it: ${file.path}#${fitting[0] ?? names[0] ?? 'NAME'}`],
  )
}

/**
 * Noise from a tensor [M, C, H, W] (`FILE` or `FILE#NAME`); row i is of sample i. Throws usage errors
 * `tensor_missing`, `noise_shape`.
 */
export async function openNoiseFile(
  ref: string,
  shape: readonly [number, number, number],
  cacheDir: string,
): Promise<NoiseSource> {
  const { file, name } = splitTensorRef(ref)
  const tensors = await openTensorFile(file)
  try {
    const key = pickTensor(tensors, name, ['z', 'noise', 'tensor'], 4)
    const there = tensors.shapes.get(key)!
    if (there.length !== 4 || there.slice(1).join() !== shape.join()) {
      throw usageError('noise_shape', `The noise "${key}" in ${file} is [${there}]; [M,${shape}] was expected`, [
        'give noise of the shape of the latents of this model',
      ])
    }
    const digest = await fileDigest(file, cacheDir)
    const size = shape.reduce((a, b) => a * b, 1)
    return {
      id: `${key} of ${digest}`,
      rows: there[0]!,
      read: (index) => tensors.readFloat32(key, { start: index * size, count: size }),
      close: () => tensors.close(),
    }
  } catch (error) {
    await tensors.close()
    throw error
  }
}

/** Classes from an integer tensor (`FILE` or `FILE#NAME`). */
export async function readLabelFile(ref: string): Promise<number[]> {
  const { file, name } = splitTensorRef(ref)
  const tensors = await openTensorFile(file)
  try {
    return await tensors.readIntegers(pickTensor(tensors, name, ['y', 'labels', 'tensor'], 1))
  } finally {
    await tensors.close()
  }
}
