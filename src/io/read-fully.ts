import type { FileHandle } from 'node:fs/promises'

/** Fills `into` from `position` on; false when the file ends before. */
export async function readFully(handle: FileHandle, into: Uint8Array, position: number): Promise<boolean> {
  let done = 0
  while (done < into.length) {
    const { bytesRead } = await handle.read(into, done, Math.min(into.length - done, 1 << 30), position + done)
    if (bytesRead === 0) return false
    done += bytesRead
  }
  return true
}
