/**
 * PyTorch's files of weights, `.pt`/`.pth`: the zip container (since 1.6) and the legacy one (a row of
 * pickles, then the storages' bytes). Opening reads the structure only; tensors are read by range, so
 * memory stays near the largest tensor. Layouts: torch/serialization.py, `_save` and `_legacy_save`.
 */
import { type FileHandle, open } from 'node:fs/promises'
import { errorText, VtpError } from '../../errors.js'
import { bfloat16ToFloat32, float16ToFloat32 } from '../../math/half.js'
import { readFully } from '../read-fully.js'
import { isZip, readZipDirectory, readZipMember } from '../zip.js'
import { openLegacy } from './legacy.js'
import { readPickle } from './pickle.js'
import { type Container, storageTable } from './storages.js'
import {
  badTorchFile,
  isGlobal,
  lookUp,
  stateDict,
  TORCH_DTYPE_BYTES,
  type TorchTensor,
  type TorchValue,
} from './values.js'

export * from './values.js'

/** Elements in C order. float16 and bfloat16 are raw bits, bool and float8 bytes, complex numbers pairs. */
export type TorchArray =
  | Float32Array
  | Float64Array
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array

export interface TorchFile {
  readonly path: string
  /** What was saved: usually a dict, `lookUp` and `stateDict` help. */
  readonly root: TorchValue
  /** A tensor's elements in C order, whatever its strides are. */
  readTensor(tensor: TorchTensor): Promise<TorchArray>
  /** A float tensor widened to float32 (float64 is rounded). Throws VtpError `bad_dtype` for other types. */
  readFloat32(tensor: TorchTensor): Promise<Float32Array>
  close(): Promise<void>
}

const MAX_PICKLE_BYTES = 200_000_000

/** Opens a file. Throws VtpError `file_unreadable`, `bad_torch_file`, `bad_zip` or `unsafe_pickle`. */
export async function openTorchFile(path: string): Promise<TorchFile> {
  let handle: FileHandle
  try {
    handle = await open(path)
  } catch (error) {
    throw new VtpError(`${path} cannot be opened: ${errorText(error)}`, { code: 'file_unreadable', cause: error })
  }
  try {
    const { root, offsets } = (await isZip(handle)) ? await openZip(handle, path) : await openLegacy(handle, path)
    if (isGlobal(root)) throw badTorchFile(path, 'it holds a name instead of data')
    const readTensor = (tensor: TorchTensor): Promise<TorchArray> => readView(handle, path, offsets, tensor)
    return {
      path,
      root: root as TorchValue,
      readTensor,
      readFloat32: async (tensor) => toFloat32(await readTensor(tensor), tensor, path),
      close: () => handle.close(),
    }
  } catch (error) {
    await handle.close()
    throw error
  }
}

/** Opens a file that holds a state dict, at its top or under one of the `keys` (the first that is there; `a.b`: b of a). */
export async function openStateDict(
  path: string,
  keys: string[] = [],
): Promise<TorchFile & { tensors: Map<string, TorchTensor> }> {
  const file = await openTorchFile(path)
  const { root } = file
  const found = keys.map((key) => lookUp(root, ...key.split('.'))).find((value) => value !== undefined)
  const tensors = stateDict(found ?? root)
  if (tensors && tensors.size > 0) return { ...file, tensors }
  await file.close()
  throw new VtpError(`${path} holds no state dict (tensors by name)`, { code: 'bad_torch_file' })
}

async function openZip(handle: FileHandle, path: string): Promise<Container> {
  const members = await readZipDirectory(handle, path)
  const pickleName = [...members.keys()].find((name) => /^[^/]+\/data\.pkl$/.test(name))
  if (pickleName === undefined) throw badTorchFile(path, 'it is a zip file without data.pkl')
  const prefix = pickleName.slice(0, -'data.pkl'.length)
  const order = members.get(`${prefix}byteorder`)
  if (order && order.bytes < 16 && (await readZipMember(handle, path, order)).toString().trim() !== 'little')
    throw badTorchFile(path, 'its numbers are big-endian, which is not supported')
  const member = members.get(pickleName)!
  if (member.bytes > MAX_PICKLE_BYTES) throw badTorchFile(path, `its pickle claims ${member.bytes} bytes`)
  const pickle = await readZipMember(handle, path, member)
  const offsets = new Map<string, number>()
  const storages = storageTable(path, ({ key, bytes }) => {
    const data = members.get(`${prefix}data/${key}`)
    if (data && data.method !== 'stored')
      throw badTorchFile(
        path,
        `the storage ${key} is compressed, as torch.save never leaves it (another program packed it)`,
      )
    if (!data) throw badTorchFile(path, `the storage ${key} is missing`)
    if (data.bytes < bytes) throw badTorchFile(path, `the storage ${key} has ${data.bytes} bytes, ${bytes} expected`)
    offsets.set(key, data.offset)
  })
  try {
    return { root: readPickle(pickle, 0, { file: path, persistent: storages }).value, offsets }
  } catch (error) {
    throw error instanceof VtpError ? error : badTorchFile(path, 'its pickle ends early')
  }
}

async function readView(
  handle: FileHandle,
  path: string,
  offsets: Map<string, number>,
  tensor: TorchTensor,
): Promise<TorchArray> {
  const { shape, stride, dtype } = tensor
  const size = TORCH_DTYPE_BYTES[dtype]
  const count = shape.reduce((a, b) => a * b, 1)
  if (count === 0) return typed(new Uint8Array(0), dtype)
  const span = shape.reduce((sum, n, i) => sum + (n - 1) * stride[i]!, 1)
  const bytes = new Uint8Array(span * size)
  const start = offsets.get(tensor.storage.key)
  if (start === undefined || !(await readFully(handle, bytes, start + tensor.offset * size)))
    throw badTorchFile(path, 'it ended while a tensor was read')
  if (isContiguous(shape, stride)) return typed(bytes, dtype)
  const out = new Uint8Array(count * size)
  const index = new Array<number>(shape.length).fill(0)
  let from = 0
  for (let i = 0; i < count; i++) {
    out.set(bytes.subarray(from * size, (from + 1) * size), i * size)
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      from += stride[axis]!
      if (++index[axis]! < shape[axis]!) break
      from -= stride[axis]! * shape[axis]!
      index[axis] = 0
    }
  }
  return typed(out, dtype)
}

function isContiguous(shape: number[], stride: number[]): boolean {
  let expected = 1
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && stride[axis] !== expected) return false
    expected *= shape[axis]!
  }
  return true
}

function typed(bytes: Uint8Array, dtype: TorchTensor['dtype']): TorchArray {
  const { buffer } = bytes as Uint8Array<ArrayBuffer>
  switch (dtype) {
    case 'float32':
    case 'complex64':
      return new Float32Array(buffer)
    case 'float64':
    case 'complex128':
      return new Float64Array(buffer)
    case 'float16':
    case 'bfloat16':
    case 'uint16':
      return new Uint16Array(buffer)
    case 'int64':
      return new BigInt64Array(buffer)
    case 'uint64':
      return new BigUint64Array(buffer)
    case 'int32':
      return new Int32Array(buffer)
    case 'uint32':
      return new Uint32Array(buffer)
    case 'int16':
      return new Int16Array(buffer)
    case 'int8':
      return new Int8Array(buffer)
    default:
      return bytes
  }
}

function toFloat32(data: TorchArray, { dtype, shape }: TorchTensor, path: string): Float32Array {
  if (dtype === 'float32') return data as Float32Array
  if (dtype === 'float16') return float16ToFloat32(data as Uint16Array)
  if (dtype === 'bfloat16') return bfloat16ToFloat32(data as Uint16Array)
  if (dtype === 'float64') return Float32Array.from(data as Float64Array)
  throw new VtpError(`A tensor [${shape}] in ${path} is ${dtype}; a float type was expected`, { code: 'bad_dtype' })
}
