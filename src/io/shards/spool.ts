/**
 * A file for values that belong behind a header that is not known yet. Nobody else reads it, so it is neither hashed
 * nor brought to the disk.
 */
import { type FileHandle, open, rm } from 'node:fs/promises'
import { storageError } from '../storage-error.js'
import { type FileSink, writeFully } from './file-sink.js'

const COPY_BYTES = 2 ** 20

export interface Spool {
  append(bytes: Uint8Array): Promise<void>
  /** Writes everything behind what `sink` has. */
  copyTo(sink: FileSink): Promise<void>
  /** Closes and deletes the file. */
  close(): Promise<void>
}

export async function openSpool(path: string): Promise<Spool> {
  let handle: FileHandle
  try {
    handle = await open(path, 'w+')
  } catch (error) {
    throw storageError('Cannot write', path, error)
  }
  return {
    async append(bytes) {
      try {
        await writeFully(handle, bytes)
      } catch (error) {
        throw storageError('Cannot write', path, error)
      }
    },
    async copyTo(sink) {
      const buffer = Buffer.allocUnsafe(COPY_BYTES)
      for (let offset = 0; ; ) {
        const { bytesRead } = await handle.read(buffer, 0, COPY_BYTES, offset)
        if (bytesRead === 0) return
        await sink.write(buffer.subarray(0, bytesRead))
        offset += bytesRead
      }
    },
    async close() {
      await handle.close().catch(() => {})
      await rm(path, { force: true })
    },
  }
}
