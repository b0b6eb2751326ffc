/** What a PyTorch file may hold here: tensors and plain containers, nothing that has behaviour. */
import { VtpError } from '../../errors.js'

/** Bytes per element. Complex numbers are pairs; quantised types are not read. */
export const TORCH_DTYPE_BYTES = {
  bool: 1,
  uint8: 1,
  int8: 1,
  float8_e4m3fn: 1,
  float8_e5m2: 1,
  float8_e4m3fnuz: 1,
  float8_e5m2fnuz: 1,
  int16: 2,
  uint16: 2,
  float16: 2,
  bfloat16: 2,
  int32: 4,
  uint32: 4,
  float32: 4,
  int64: 8,
  uint64: 8,
  float64: 8,
  complex64: 8,
  complex128: 16,
} as const
export type TorchDtype = keyof typeof TORCH_DTYPE_BYTES

export interface TorchStorage {
  kind: 'storage'
  key: string
  /** `undefined` for untyped storages, whose tensors name the type. */
  dtype: TorchDtype | undefined
  bytes: number
}

/** A view of a storage; its values are read on demand (`TorchFile.readTensor`). */
export interface TorchTensor {
  kind: 'tensor'
  dtype: TorchDtype
  shape: number[]
  /** In elements. */
  stride: number[]
  /** In elements. */
  offset: number
  storage: TorchStorage
}

/** Lists, tuples and torch.Size are arrays; dicts, OrderedDicts and argparse.Namespaces are maps. */
export type TorchValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | TorchTensor
  | TorchValue[]
  | Map<TorchValue, TorchValue>
  | Set<TorchValue>

export function isTensor(value: unknown): value is TorchTensor {
  return typeof value === 'object' && value !== null && (value as { kind?: unknown }).kind === 'tensor'
}

/** A nested value by keys of dicts and positions of lists; undefined when there is none. */
export function lookUp(value: TorchValue | undefined, ...path: (string | number)[]): TorchValue | undefined {
  let at = value
  for (const key of path) {
    if (at instanceof Map) at = at.get(key)
    else if (Array.isArray(at) && typeof key === 'number') at = at[key]
    else return undefined
  }
  return at
}

/** The tensors of a state dict by name; other entries (`_metadata`, counters) are left out. Undefined for what is no dict. */
export function stateDict(value: TorchValue | undefined): Map<string, TorchTensor> | undefined {
  if (!(value instanceof Map)) return undefined
  const tensors = new Map<string, TorchTensor>()
  for (const [name, entry] of value) if (typeof name === 'string' && isTensor(entry)) tensors.set(name, entry)
  return tensors
}

/** Plain JavaScript data for configurations: maps become objects, sets arrays, big integers text where they are unsafe. */
export function toPlain(value: TorchValue, depth = 0): unknown {
  if (depth > 64) return null
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : String(value)
  if (Array.isArray(value)) return value.map((entry) => toPlain(entry, depth + 1))
  if (value instanceof Set) return [...value].map((entry) => toPlain(entry, depth + 1))
  if (value instanceof Map)
    return Object.fromEntries([...value].map(([key, entry]) => [String(key), toPlain(entry, depth + 1)]))
  return value
}

/** An allowed name on the pickle machine's stack: something to apply (globals.ts), or a type. */
export interface GlobalName {
  kind: 'global'
  name: string
  /** For storage classes and torch.float32 and the like. */
  dtype?: TorchDtype
}

/** Nothing that the machine holds can be called from outside: values, allowed names, storages. */
export type StackValue = TorchValue | GlobalName | TorchStorage

export function isGlobal(value: unknown): value is GlobalName {
  return typeof value === 'object' && value !== null && (value as { kind?: unknown }).kind === 'global'
}

export function isStorage(value: unknown): value is TorchStorage {
  return typeof value === 'object' && value !== null && (value as { kind?: unknown }).kind === 'storage'
}

export function badTorchFile(file: string, what: string): VtpError {
  return new VtpError(`${file} is not a valid PyTorch file: ${what}`, {
    code: 'bad_torch_file',
    suggestions: ['download or copy the file again: it may be truncated'],
  })
}
