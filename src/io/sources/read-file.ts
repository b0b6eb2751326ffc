/** Reading one image's bytes: local files here, objects and web addresses by their own modules. What is wrong with one image is a RejectError. */
import { type FileHandle, open, stat } from 'node:fs/promises'
import { backoff, retry } from '../../async/retry.js'
import { errorText, systemCode } from '../../errors.js'
import { type ListingEntry, type Location, RejectError } from '../../types.js'
import { uriScheme } from '../store.js'
import type { ReadOptions } from './read-options.js'

/** Largest source file of one image. */
export const DEFAULT_MAX_BYTES = 256 * 2 ** 20

function fail(code: RejectError['code'], message: string, cause?: unknown): RejectError {
  return new RejectError(code, 'read', message, cause)
}

/** The path as the file system knows it: raw bytes where the name is not UTF-8. */
export function nativePath(at: Extract<Location, { kind: 'file' }>): string | Buffer {
  return at.bytes === undefined ? at.path : Buffer.from(at.bytes, 'base64')
}

/** How many bytes an image is going to have, where that can be known before it is read. */
export async function sourceBytes(at: Location): Promise<number | undefined> {
  if (at.kind === 'range') return at.size
  if (at.kind !== 'file') return undefined
  if (at.size !== undefined || uriScheme(at.path) !== undefined) return at.size
  return (await stat(nativePath(at)).catch(() => undefined))?.size
}

/** Too many open files is a passing state of this process: wait for others to close. */
function openPatiently(file: string | Buffer): Promise<FileHandle> {
  return retry(() => open(file), {
    again: (error, attempt) =>
      ['EMFILE', 'ENFILE'].includes(systemCode(error) ?? '') && attempt <= 8 ? backoff(attempt, 20) : undefined,
  })
}

/** Reads a file or a byte range of one, wherever it lies. Throws RejectError (stage `read`). */
export async function readLocation(entry: ListingEntry, options: ReadOptions = {}): Promise<Uint8Array> {
  const { at } = entry
  const maxBytes = options.maxBytes ?? DEFAULT_MAX_BYTES
  if (at.kind !== 'file' && at.kind !== 'range') throw fail('bad_entry', `the entry is of kind ${at.kind}`)
  const scheme = uriScheme(at.path)
  if (scheme === 's3') {
    const { readObjectBytes } = await import('./read-object.js')
    return readObjectBytes(at.path, at.kind === 'range' ? at : undefined, at.etag, { ...options, maxBytes })
  }
  if (scheme === 'hf') {
    const { readDatasetBytes } = await import('./hub-files.js')
    return readDatasetBytes(at.path, at.kind === 'range' ? at : undefined, { ...options, maxBytes })
  }
  if (scheme === 'http' || scheme === 'https') {
    const { readHttp } = await import('./read-http.js')
    return readHttp(at.path, { maxBytes, allowPrivate: options.allowPrivateUrls ?? false, signal: options.signal })
  }
  if (scheme) throw fail('bad_entry', `${scheme}:// is not supported`)
  let handle: FileHandle | undefined
  try {
    handle = await openPatiently(at.kind === 'file' ? nativePath(at) : at.path)
    const info = await handle.stat()
    if (info.isDirectory()) throw fail('unreadable', 'it is a folder')
    const [offset, size] = at.kind === 'range' ? [at.offset, at.size] : [0, info.size]
    if (size === 0) throw fail('empty', 'the file has 0 bytes')
    if (size > maxBytes) throw fail('too_many_bytes', `${size} bytes are more than the limit of ${maxBytes}`)
    const bytes = new Uint8Array(size)
    let done = 0
    while (done < size) {
      const { bytesRead } = await handle.read(bytes, done, size - done, offset + done)
      if (bytesRead === 0) throw fail('unreadable', `it ended after ${done} of ${size} bytes`)
      done += bytesRead
    }
    return bytes
  } catch (error) {
    if (error instanceof RejectError) throw error
    const code = systemCode(error)
    if (code === 'ENOENT' || code === 'ENOTDIR') throw fail('not_found', 'no such file', error)
    if (code === 'EACCES' || code === 'EPERM') throw fail('unreadable', 'permission denied', error)
    throw fail('unreadable', errorText(error), error)
  } finally {
    await handle?.close()
  }
}
