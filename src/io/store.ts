/**
 * Where output bytes live. A store is a flat set of named objects; names are relative, with forward
 * slashes. Every store passes the same conformance suite (test/support/store-conformance.ts). Retrying and counting
 * requests are not wrappers around a store but belong to the S3 client (io/s3/client.ts): a call here may be several
 * requests, and after a lost answer only the client can look whether the object it finds is its own.
 */
import { usageError } from '../errors.js'
import { shownAddress } from './redact.js'

export interface StoreEntry {
  name: string
  size: number
  /** Milliseconds since 1970, where the store tells. */
  modifiedMs?: number
}

export interface PutFileOptions {
  ifAbsent: boolean
  keep?: boolean
  /** Leave the file where it is when the name is taken. */
  keepIfTaken?: boolean
  sha256?: string
}

export interface Store {
  /** Folder or URI, for messages. */
  readonly uri: string
  /** Entries whose name starts with `prefix`, in the order of their names. Temporary files are not listed. */
  list(prefix: string): AsyncIterable<StoreEntry>
  /** Names only, in no particular order: cheaper than `list` on a disk. */
  names(prefix: string): AsyncIterable<string>
  /** Size and age of an object; undefined when there is none. */
  stat(name: string): Promise<{ size: number; modifiedMs?: number } | undefined>
  /** The object, or a range of it. Throws VtpError `not_found`. */
  get(name: string, range?: { offset: number; size: number }): Promise<Uint8Array>
  /** Writes or replaces the whole object; readers see the old or the new one. */
  put(name: string, bytes: Uint8Array): Promise<void>
  /** Writes the object unless there is one; false when there is. Of racing callers exactly one gets true. */
  putIfAbsent(name: string, bytes: Uint8Array): Promise<boolean>
  /**
   * Like `put` (or `putIfAbsent`) for a finished local file, which is moved when it lies in `tempDir()`,
   * copied otherwise; `keep` leaves it where it is. With `sha256` (hex) a file that has changed since it was
   * finished is an error instead of a damaged object.
   */
  putFile(name: string, file: string, options: PutFileOptions): Promise<boolean>
  /** Deletes the object; no error when there is none. */
  delete(name: string): Promise<void>
  /** SHA-256 (hex) of the object's bytes. Throws VtpError `not_found`. */
  sha256(name: string): Promise<string>
  /** A local folder for files on their way into this store. Its contents are worthless after a crash. */
  tempDir(): Promise<string>
  close(): Promise<void>
}

/** "s3" for "s3://bucket/key"; undefined for paths. */
export function uriScheme(text: string): string | undefined {
  return /^([a-z][a-z0-9+.-]*):\/\//i.exec(text)?.[1]?.toLowerCase()
}

export function unsupportedScheme(uri: string, scheme: string): Error {
  return usageError('unsupported_scheme', `${shownAddress(uri)}: ${scheme}:// is not supported`, [
    'use a local path or s3://bucket/prefix',
  ])
}
