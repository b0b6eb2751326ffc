/** Reading one image from object storage: what is wrong with it alone is a RejectError, the rest stops the run. */
import { VtpError } from '../../errors.js'
import { type RejectCode, RejectError } from '../../types.js'
import { getObject } from '../s3/objects.js'
import { parseS3Uri } from '../s3/uri.js'
import type { ReadOptions } from './read-options.js'

/** Failures that concern one object; anything else would concern all of them, and no image must be lost to it. */
const REJECTS: Record<string, [RejectCode, string]> = {
  not_found: ['not_found', 'no such object'],
  s3_changed: ['changed', 'it is not the object that was listed (its ETag differs)'],
  s3_access_denied: ['unreadable', 'access is denied'],
  s3_bad_key: ['bad_entry', 'the key is too long'],
  bad_s3_uri: ['bad_entry', 'the address names no bucket'],
}
/** Failures that concern a bucket: of one entry, where every entry names its own. */
const BUCKET_REJECTS: typeof REJECTS = {
  s3_no_bucket: ['not_found', 'there is no such bucket'],
  s3_wrong_region: ['unreadable', 'its bucket lies in another region'],
}

/** The object, or a range of it. Throws RejectErrors (stage `read`) and, for the service as a whole, VtpErrors. */
export async function readObjectBytes(
  uri: string,
  range: { offset: number; size: number } | undefined,
  etag: string | undefined,
  { maxBytes, ownBuckets, signal }: ReadOptions & { maxBytes: number },
): Promise<Uint8Array> {
  const tooMany = (size: number): RejectError =>
    new RejectError('too_many_bytes', 'read', `${size} bytes are more than the limit of ${maxBytes}`)
  if (range && range.size > maxBytes) throw tooMany(range.size)
  try {
    const { bytes } = await getObject(parseS3Uri(uri), { range, etag, maxBytes, signal })
    if (bytes.length === 0) throw new RejectError('empty', 'read', 'the object has 0 bytes')
    if (range && bytes.length !== range.size)
      throw new RejectError('unreadable', 'read', `it ended after ${bytes.length} of ${range.size} bytes`)
    // A view of a larger buffer could not be handed to another thread without a copy.
    return bytes.byteLength === bytes.buffer.byteLength ? bytes : new Uint8Array(bytes)
  } catch (error) {
    if (!(error instanceof VtpError)) throw error
    if (error.code === 'too_many_bytes') throw new RejectError('too_many_bytes', 'read', error.message)
    const reject = REJECTS[error.code] ?? (ownBuckets ? BUCKET_REJECTS[error.code] : undefined)
    if (reject) throw new RejectError(reject[0], 'read', reject[1], error)
    throw error
  }
}
