/** The memory behind tensors, as both containers of PyTorch's files name it: one entry per key of a pickle. */
import { badTorchFile, isGlobal, type StackValue, TORCH_DTYPE_BYTES, type TorchStorage } from './values.js'

/** Where the storages' bytes lie in the file, by key. */
export interface Container {
  root: StackValue
  offsets: Map<string, number>
}

/** Persistent ids ('storage', class, key, location, count, …) → storages, one per key. */
export function storageTable(file: string, onNew: (storage: TorchStorage) => void): (id: StackValue) => StackValue {
  const seen = new Map<string, TorchStorage>()
  return (id) => {
    const [kind, type, key, , count, view] = Array.isArray(id) ? (id as unknown[]) : []
    if (view !== undefined && view !== null) throw badTorchFile(file, 'it has storage views, which PyTorch 0.x wrote')
    if (kind !== 'storage' || !isGlobal(type) || typeof key !== 'string' || !Number.isSafeInteger(count))
      throw badTorchFile(file, 'a storage in it is malformed')
    const bytes = (count as number) * (type.dtype ? TORCH_DTYPE_BYTES[type.dtype] : 1)
    if (bytes < 0) throw badTorchFile(file, 'a storage in it is malformed')
    const known = seen.get(key)
    if (known && known.bytes >= bytes) return known.dtype === type.dtype ? known : { ...known, dtype: type.dtype }
    const storage: TorchStorage = { kind: 'storage', key, dtype: type.dtype, bytes }
    onNew(storage)
    seen.set(key, storage)
    return storage
  }
}
