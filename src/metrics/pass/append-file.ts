/**
 * A file that only grows, and the lines of JSON that most of them hold. A checkpoint remembers its length;
 * what a killed process wrote behind that is cut off when the next one continues.
 */
import { type FileHandle, open } from 'node:fs/promises'
import { readFully } from '../../io/read-fully.js'
import { damaged } from './checkpoint.js'

export interface AppendFile {
  readonly path: string
  /** Its length. */
  readonly bytes: number
  append(bytes: Uint8Array): Promise<void>
  /** Fills `into` from `position` on. */
  read(into: Uint8Array, position: number): Promise<void>
  sync(): Promise<void>
  close(): Promise<void>
}

/** Opens or makes a file and cuts it to its first `keep` bytes. Throws VtpError `evaluation_damaged` when it has fewer. */
export async function openAppendFile(path: string, keep: number): Promise<AppendFile> {
  const handle: FileHandle = await open(path, 'a+')
  try {
    const { size } = await handle.stat()
    if (size < keep) throw damaged(path, `it has ${size} bytes, its checkpoint says ${keep}`)
    await handle.truncate(keep)
  } catch (error) {
    await handle.close()
    throw error
  }
  let bytes = keep
  return {
    path,
    get bytes() {
      return bytes
    },
    async append(part) {
      await handle.appendFile(part)
      bytes += part.length
    },
    async read(into, position) {
      if (!(await readFully(handle, into, position))) throw damaged(path, `it ends before byte ${position}`)
    },
    sync: () => handle.datasync(),
    close: () => handle.close(),
  }
}

/** Appends values as lines of JSON. */
export function appendLines(file: AppendFile, values: readonly unknown[]): Promise<void> {
  return file.append(Buffer.from(values.map((value) => `${JSON.stringify(value)}\n`).join('')))
}

/** The values of all lines, one after the other. */
export async function* readLines<T>(file: AppendFile): AsyncGenerator<T> {
  const reader = await open(file.path)
  try {
    for await (const line of reader.readLines()) yield JSON.parse(line) as T
  } finally {
    await reader.close().catch(() => {})
  }
}
