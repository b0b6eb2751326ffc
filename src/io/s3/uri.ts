/** `s3://bucket/key` ↔ its parts. Names are taken literally: no percent-encoding, no query. */
import { usageError } from '../../errors.js'

export interface S3Place {
  bucket: string
  /** Key or prefix, without a leading slash; may be empty. */
  key: string
}

/** Throws usage error `bad_s3_uri`; the message shows nothing that stands before an `@`. */
export function parseS3Uri(uri: string): S3Place {
  const match = /^s3:\/\/([^/]*)(?:\/([\s\S]*))?$/i.exec(uri)
  const bucket = match?.[1] ?? ''
  // A secret key may have a slash in it, so what stands before the @ may look like a bucket.
  if (bucket.includes('@') || (bucket.includes(':') && uri.includes('@'))) {
    throw usageError('bad_s3_uri', 'An s3:// address holds credentials in front of the bucket', [
      'give credentials by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role, never in the address',
    ])
  }
  if (!/^[a-z0-9][a-z0-9._-]{1,254}$/i.test(bucket)) {
    throw usageError('bad_s3_uri', `${uri.slice(0, 200)} names no bucket`, ['write s3://bucket/prefix'])
  }
  return { bucket, key: match?.[2] ?? '' }
}

export function s3Uri({ bucket, key }: S3Place): string {
  return `s3://${bucket}/${key}`
}

/** A prefix that ends in a slash, or is empty. */
export function folderKey(key: string): string {
  return key === '' || key.endsWith('/') ? key : `${key}/`
}
