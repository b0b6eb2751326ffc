/**
 * Named tensors from a file, whichever of the two containers it is: safetensors, what torch.save
 * writes (the restricted reader in src/io/torch: no code runs), or NumPy's.
 */
import { usageError } from '../errors.js'
import type { TensorFile } from './named-tensors.js'
import { isNumpyName, openNumpyTensors } from './numpy/tensors.js'
import { DTYPE_BYTES, openSafetensors, widenToFloat32 } from './safetensors.js'
import { isTensor, openStateDict, openTorchFile } from './torch/file.js'

export type { TensorFile }

const INTEGERS: Record<string, (bytes: Uint8Array) => number[]> = {
  I64: (b) => Array.from(new BigInt64Array(b.buffer, b.byteOffset, b.length / 8), Number),
  I32: (b) => Array.from(new Int32Array(b.buffer, b.byteOffset, b.length / 4)),
  U8: (b) => Array.from(b),
}

/** True for names that torch.save's files have. */
export function isTorchName(file: string): boolean {
  return /\.(pt|pth|ckpt|bin)$/i.test(file)
}

/**
 * Opens a file of tensors. In a `.pt` file the tensors lie at its top or under the first of `keys` that is
 * there (`trainer.unitok`: a dict in a dict). Throws VtpErrors `file_unreadable`, `bad_safetensors`, `bad_torch_file`, `unsafe_pickle`,
 * `bad_npy`, `bad_zip`.
 */
export async function openTensorFile(file: string, keys: string[] = []): Promise<TensorFile> {
  if (isTorchName(file)) return openTorchTensors(file, keys)
  if (isNumpyName(file)) return openNumpyTensors(file)
  const opened = await openSafetensors(file)
  return {
    path: file,
    shapes: new Map([...opened.tensors].map(([name, { shape }]) => [name, shape])),
    dtypes: new Map([...opened.tensors].map(([name, { dtype }]) => [name, dtype])),
    readFloat32: async (name, range) => {
      if (!range) return opened.readFloat32(name)
      const info = opened.tensors.get(name)!
      const size = DTYPE_BYTES[info.dtype]
      const bytes = await opened.readBytes(name, { offset: range.start * size, bytes: range.count * size })
      return widenToFloat32(bytes, info)
    },
    readIntegers: async (name) => {
      const { dtype } = opened.tensors.get(name)!
      const convert = INTEGERS[dtype]
      if (!convert) throw integersExpected(file, name, dtype)
      return convert((await opened.readBytes(name)).slice())
    },
    close: opened.close,
  }
}

async function openTorchTensors(file: string, keys: string[]): Promise<TensorFile> {
  const opened = await openStateDict(file, keys).catch(async (error) => {
    // A bare tensor, as torch.save(noise) writes it.
    const bare = await openTorchFile(file)
    if (!isTensor(bare.root)) {
      await bare.close()
      throw error
    }
    return { ...bare, tensors: new Map([['tensor', bare.root]]) }
  })
  const { tensors } = opened
  let whole: { name: string; values: Promise<Float32Array> } | undefined
  return {
    path: file,
    shapes: new Map([...tensors].map(([name, { shape }]) => [name, shape])),
    dtypes: new Map([...tensors].map(([name, { dtype }]) => [name, dtype])),
    readFloat32: async (name, range) => {
      if (!range) return opened.readFloat32(tensors.get(name)!)
      // Views of storages have strides: the tensor is read whole, once.
      if (whole?.name !== name) whole = { name, values: opened.readFloat32(tensors.get(name)!) }
      return (await whole.values).slice(range.start, range.start + range.count)
    },
    readIntegers: async (name) => {
      const tensor = tensors.get(name)!
      if (!/^u?int/.test(tensor.dtype)) throw integersExpected(file, name, tensor.dtype)
      return Array.from(await opened.readTensor(tensor), Number)
    },
    close: opened.close,
  }
}

function integersExpected(file: string, name: string, dtype: string): Error {
  return usageError('bad_dtype', `The tensor "${name}" in ${file} is ${dtype}; integers were expected`)
}
