/** Objects as local files. */
import { createWriteStream } from 'node:fs'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { storageError } from '../storage-error.js'
import { readObject } from './upload.js'
import { parseS3Uri } from './uri.js'

/** Writes an object to a file, front to back with bounded memory. Throws VtpErrors (`not_found` and others). */
export async function downloadObject(uri: string, file: string): Promise<void> {
  try {
    await pipeline(Readable.from(readObject(parseS3Uri(uri))), createWriteStream(file))
  } catch (error) {
    throw storageError('Cannot write', file, error)
  }
}
