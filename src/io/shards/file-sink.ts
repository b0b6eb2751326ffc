/** A file that is written once, front to back, and hashed on the way. */
import { createHash } from 'node:crypto'
import { type FileHandle, open, rm } from 'node:fs/promises'
import { storageError } from '../storage-error.js'

export interface FileSink {
  readonly path: string
  /** Bytes so far. */
  readonly bytes: number
  write(...chunks: Uint8Array[]): Promise<void>
  finish(): Promise<{ path: string; bytes: number; sha256: string }>
  /** Closes and deletes the file. */
  abort(): Promise<void>
}

/** Writes all of the bytes, however few the system takes at once: to the end, or from a position on. */
export async function writeFully(handle: FileHandle, bytes: Uint8Array, position?: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const at = position === undefined ? null : position + done
    const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, at)
    done += bytesWritten
  }
}

export async function openFileSink(path: string): Promise<FileSink> {
  const hash = createHash('sha256')
  let handle: FileHandle
  let bytes = 0
  try {
    handle = await open(path, 'w')
  } catch (error) {
    throw storageError('Cannot write', path, error)
  }
  return {
    path,
    get bytes() {
      return bytes
    },
    async write(...chunks) {
      try {
        for (const chunk of chunks) {
          const written = writeFully(handle, chunk)
          // While the system writes.
          hash.update(chunk)
          await written
          bytes += chunk.length
        }
      } catch (error) {
        throw storageError('Cannot write', path, error)
      }
    },
    async finish() {
      try {
        await handle.sync()
      } catch (error) {
        throw storageError('Cannot write', path, error)
      } finally {
        await handle.close()
      }
      return { path, bytes, sha256: hash.digest('hex') }
    },
    async abort() {
      await handle.close().catch(() => {})
      await rm(path, { force: true })
    },
  }
}
