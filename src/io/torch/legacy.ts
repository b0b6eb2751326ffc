/**
 * The container of PyTorch before 1.6 (most published weights are still in it): five pickles (a magic
 * number, a version, a description of the machine, the data, the storages' keys), then for each key its
 * element count (int64) and its bytes. Layout: torch/serialization.py, `_legacy_save`.
 */
import type { FileHandle } from 'node:fs/promises'
import { VtpError } from '../../errors.js'
import { readFully } from '../read-fully.js'
import { PickleTruncated, readPickle } from './pickle.js'
import { type Container, storageTable } from './storages.js'
import {
  badTorchFile,
  lookUp,
  type StackValue,
  TORCH_DTYPE_BYTES,
  type TorchStorage,
  type TorchValue,
} from './values.js'

const MAGIC = 0x1950a86a20f9469cfc6cn
const FIRST_WINDOW = 1 << 18
const MAX_WINDOW = 200_000_000

/** Pickles are read from a window that grows: their length is known only once they end. */
class PickleRow {
  private window: Buffer = Buffer.alloc(0)
  position = 0
  private readonly handle: FileHandle
  private readonly path: string
  private readonly size: number

  constructor(handle: FileHandle, path: string, size: number) {
    this.handle = handle
    this.path = path
    this.size = size
  }

  async next(persistent?: () => (id: StackValue) => StackValue): Promise<StackValue> {
    for (;;) {
      try {
        const options = { file: this.path, ...(persistent ? { persistent: persistent() } : {}) }
        const { value, end } = readPickle(this.window, this.position, options)
        this.position = end
        return value
      } catch (error) {
        if (error instanceof VtpError) throw error
        if (!(error instanceof PickleTruncated)) throw badTorchFile(this.path, 'its pickle is malformed')
        const wanted = Math.min(this.size, Math.max(FIRST_WINDOW, this.window.length * 4), MAX_WINDOW)
        if (wanted <= this.window.length) throw badTorchFile(this.path, 'it ends early, or is of another kind')
        this.window = Buffer.alloc(wanted)
        if (!(await readFully(this.handle, this.window, 0))) throw badTorchFile(this.path, 'it ends early')
      }
    }
  }
}

export async function openLegacy(handle: FileHandle, path: string): Promise<Container> {
  const { size } = await handle.stat()
  const head = Buffer.alloc(Math.min(size, 2))
  await readFully(handle, head, 0)
  if (head[0] !== 0x80) {
    throw badTorchFile(path, 'it begins neither as a zip container nor as a pickle')
  }
  const row = new PickleRow(handle, path, size)
  if ((await row.next()) !== MAGIC) throw badTorchFile(path, 'it is a pickle, but not one of torch.save')
  if ((await row.next()) !== 1001) throw badTorchFile(path, 'its container has an unknown version')
  const machine = (await row.next()) as TorchValue
  if (lookUp(machine, 'little_endian') === false)
    throw badTorchFile(path, 'its numbers are big-endian, which is not supported')
  let storages = new Map<string, TorchStorage>()
  const root = await row.next(() => {
    storages = new Map()
    return storageTable(path, (storage) => storages.set(storage.key, storage))
  })
  const keys = (await row.next()) as TorchValue
  if (!Array.isArray(keys)) throw badTorchFile(path, 'its list of storages is malformed')

  const offsets = new Map<string, number>()
  let position = row.position
  const count = Buffer.alloc(8)
  for (const key of keys) {
    const storage = typeof key === 'string' ? storages.get(key) : undefined
    if (!storage || !(await readFully(handle, count, position)))
      throw badTorchFile(path, `the storage ${typeof key === 'string' ? key : '(no name)'} is missing`)
    const bytes = Number(count.readBigInt64LE()) * (storage.dtype ? TORCH_DTYPE_BYTES[storage.dtype] : 1)
    if (bytes !== storage.bytes || position + 8 + bytes > size)
      throw badTorchFile(path, `the storage ${key} has ${bytes} bytes, ${storage.bytes} expected in a file of ${size}`)
    offsets.set(storage.key, position + 8)
    position += 8 + bytes
  }
  if (offsets.size !== storages.size) throw badTorchFile(path, 'storages are missing')
  return { root, offsets }
}
