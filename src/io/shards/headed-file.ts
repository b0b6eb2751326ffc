/**
 * A file whose header comes first and is known last: behind it lie parts, which grow side by side. Where it is known
 * beforehand how long everything will be, each part is written to its place at once. If it turns out otherwise, or was
 * not known, the parts are copied behind the header at the end. Only what stays is hashed and brought to the disk.
 */
import { createHash } from 'node:crypto'
import { type FileHandle, open, rm } from 'node:fs/promises'
import { storageError } from '../storage-error.js'
import { openFileSink, writeFully } from './file-sink.js'

const READ_BYTES = 2 ** 20

/** Lengths in bytes; of the parts in their order. */
export interface HeadedLayout {
  header: number
  parts: number[]
}

export interface HeadedFile {
  /** Adds to the end of a part. */
  append(part: number, bytes: Uint8Array): Promise<void>
  /** Puts the header in front. The file may lie under another of the names of `nameOf` than the parts did. */
  finish(header: Uint8Array): Promise<{ path: string; bytes: number; sha256: string }>
  /** Closes and deletes what there is. */
  abort(): Promise<void>
}

interface Part {
  path: string
  handle: FileHandle
  /** Where it begins in its file. */
  at: number
  bytes: number
  /** The most that has room here. */
  room: number
}

/** `nameOf` gives a name that no other file has, at every call. Throws storage errors. */
export async function openHeadedFile(
  nameOf: (what: string) => string,
  parts: readonly string[],
  expected?: HeadedLayout,
): Promise<HeadedFile> {
  const guard = async <T>(path: string, work: () => Promise<T>): Promise<T> => {
    try {
      return await work()
    } catch (error) {
      throw storageError('Cannot write', path, error)
    }
  }
  const create = (path: string): Promise<FileHandle> => guard(path, () => open(path, 'w+'))
  const opened: Part[] = []
  const files = (): Map<string, FileHandle> => new Map(opened.map(({ path, handle }) => [path, handle]))
  const removeAll = async (but?: string): Promise<void> => {
    for (const [path, handle] of files()) {
      await handle.close().catch(() => {})
      if (path !== but) await rm(path, { force: true })
    }
  }
  try {
    const whole = expected && nameOf('all')
    const handle = whole && (await create(whole))
    let at = expected?.header ?? 0
    for (const [i, name] of parts.entries()) {
      if (handle) {
        opened.push({ path: whole, handle, at, bytes: 0, room: expected.parts[i]! })
        at += expected.parts[i]!
        continue
      }
      const path = nameOf(name)
      opened.push({ path, handle: await create(path), at: 0, bytes: 0, room: Number.POSITIVE_INFINITY })
    }
  } catch (error) {
    await removeAll()
    throw error
  }

  const isInPlace = (header: Uint8Array): boolean =>
    header.length === expected?.header && opened.every(({ bytes, room }) => bytes === room)

  const finishInPlace = async (header: Uint8Array) => {
    const { path, handle } = opened[0]!
    return guard(path, async () => {
      await writeFully(handle, header, 0)
      const hash = createHash('sha256')
      const bytes = header.length + opened.reduce((sum, part) => sum + part.bytes, 0)
      for await (const chunk of readRange(handle, 0, bytes)) hash.update(chunk)
      await handle.sync()
      await handle.close()
      return { path, bytes, sha256: hash.digest('hex') }
    })
  }

  const finishByCopy = async (header: Uint8Array) => {
    const out = await openFileSink(nameOf('copy'))
    try {
      await out.write(header)
      for (const { handle, at, bytes } of opened)
        for await (const chunk of readRange(handle, at, bytes)) await out.write(chunk)
    } catch (error) {
      await out.abort()
      throw error
    }
    await removeAll()
    return out.finish()
  }

  return {
    async append(index, bytes) {
      const part = opened[index]!
      if (part.bytes + bytes.length > part.room) throw new Error(`${part.path}: a part is longer than was said`)
      await guard(part.path, () => writeFully(part.handle, bytes, part.at + part.bytes))
      part.bytes += bytes.length
    },
    finish: (header) => (isInPlace(header) ? finishInPlace(header) : finishByCopy(header)),
    abort: () => removeAll(),
  }
}

/** Bytes of a file in chunks, each of which is good until the next one is asked for. */
async function* readRange(handle: FileHandle, start: number, bytes: number): AsyncGenerator<Uint8Array> {
  const buffer = Buffer.allocUnsafe(Math.min(READ_BYTES, bytes))
  for (let at = start; at < start + bytes; ) {
    const { bytesRead } = await handle.read(buffer, 0, Math.min(READ_BYTES, start + bytes - at), at)
    if (bytesRead === 0) throw new Error('it ended while it was read')
    yield buffer.subarray(0, bytesRead)
    at += bytesRead
  }
}
