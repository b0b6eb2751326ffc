/** Objects: read, write, look up, delete, list. Bodies are read whole, and checked, inside the attempt. */
import type { Readable } from 'node:stream'
import {
  AbortMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
} from '@aws-sdk/client-s3'
import { VtpError } from '../../errors.js'
import { callS3, isAnonymous, requestPayer } from './client.js'
import { failureName, failureStatus } from './errors.js'
import { type S3Place, s3Uri } from './uri.js'

export interface ObjectInfo {
  size: number
  etag?: string
  /** Milliseconds since 1970. */
  modifiedMs?: number
}

export interface GetOptions {
  range?: { offset: number; size: number }
  /** Only this version of the object: throws VtpError `s3_changed` for another one. */
  etag?: string
  /** Throws VtpError `too_many_bytes` instead of reading more. */
  maxBytes?: number
  /** Ends the read, with the signal's reason. */
  signal?: AbortSignal
}

async function readBody(body: Readable, expected: number | undefined, signal: AbortSignal): Promise<Buffer> {
  const stop = (): void => void body.destroy(Object.assign(new Error('timed out'), { name: 'TimeoutError' }))
  signal.addEventListener('abort', stop)
  try {
    const chunks: Buffer[] = []
    let size = 0
    for await (const chunk of body) {
      chunks.push(chunk as Buffer)
      size += (chunk as Buffer).length
    }
    if (expected !== undefined && size !== expected) {
      throw Object.assign(new Error(`the body ended after ${size} of ${expected} bytes`), { name: 'TruncatedBody' })
    }
    return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, size)
  } finally {
    signal.removeEventListener('abort', stop)
  }
}

/** The object, or a range of it (shorter where the object ends). Throws VtpErrors `not_found`, `s3_changed`. */
export async function getObject(
  place: S3Place,
  { range, etag, maxBytes, signal: stop }: GetOptions = {},
): Promise<{ bytes: Buffer; etag?: string }> {
  const { bucket, key } = place
  const call = { action: 'Cannot read', operation: 'GetObject', uri: s3Uri(place), sizeBytes: range?.size, stop }
  if (range?.size === 0) return { bytes: Buffer.alloc(0) }
  const rangeHeader = range ? `bytes=${range.offset}-${range.offset + range.size - 1}` : undefined
  const headers = {
    ...(rangeHeader ? { range: rangeHeader } : {}),
    ...(etag ? { 'if-match': etag } : {}),
    ...(requestPayer().RequestPayer ? { 'x-amz-request-payer': 'requester' } : {}),
  }
  const assertSize = (announced: number, body: Readable): void => {
    if (maxBytes === undefined || announced <= maxBytes) return
    body.destroy()
    throw new VtpError(`${announced} bytes are more than the limit of ${maxBytes}`, { code: 'too_many_bytes' })
  }
  return callS3(call, async ({ client, direct, signal, expect }) => {
    try {
      const answer = await direct.read(client, bucket, { key, headers, anonymous: isAnonymous(), signal })
      if (answer) {
        const length = answer.response.headers['content-length']
        assertSize(Number(length ?? 0), answer.response)
        expect(Number(length ?? 0))
        const bytes = await readBody(answer.response, length === undefined ? undefined : Number(length), signal)
        answer.check(bytes)
        return { bytes, etag: answer.response.headers.etag }
      }
      const response = await client.send(
        new GetObjectCommand({
          Bucket: bucket,
          Key: key,
          ...(rangeHeader ? { Range: rangeHeader } : {}),
          ...(etag ? { IfMatch: etag } : {}),
          ...requestPayer(),
        }),
        { abortSignal: signal },
      )
      const announced = response.ContentLength ?? 0
      assertSize(announced, response.Body as Readable)
      expect(announced)
      return {
        bytes: await readBody(response.Body as Readable, response.ContentLength, signal),
        etag: response.ETag,
      }
    } catch (error) {
      if (failureName(error) === 'InvalidRange' || failureStatus(error) === 416) return { bytes: Buffer.alloc(0) }
      throw error
    }
  })
}

/** Size and version of an object; undefined when there is none. */
export async function headObject(place: S3Place): Promise<ObjectInfo | undefined> {
  const { bucket, key } = place
  return callS3(
    { action: 'Cannot look up', operation: 'HeadObject', uri: s3Uri(place) },
    async ({ client, signal }): Promise<ObjectInfo | undefined> => {
      try {
        const response = await client.send(new HeadObjectCommand({ Bucket: bucket, Key: key, ...requestPayer() }), {
          abortSignal: signal,
        })
        return {
          size: response.ContentLength ?? 0,
          etag: response.ETag,
          modifiedMs: response.LastModified?.getTime(),
        }
      } catch (error) {
        if (failureStatus(error) === 404 && failureName(error) !== 'NoSuchBucket') return undefined
        throw error
      }
    },
  )
}

/** Whether the object there is this one, byte for byte. */
async function sameObject(place: S3Place, bytes: Uint8Array): Promise<boolean> {
  try {
    return Buffer.compare((await getObject(place)).bytes, bytes) === 0
  } catch (error) {
    if (error instanceof VtpError && error.code === 'not_found') return false
    throw error
  }
}

/**
 * Writes an object, with a checksum. With `ifAbsent` false comes back when there is one already that this
 * call has not written: after a lost answer the object is read and compared.
 */
export async function putObject(place: S3Place, bytes: Uint8Array, ifAbsent = false): Promise<boolean> {
  const { bucket, key } = place
  const call = { action: 'Cannot write', operation: 'PutObject', uri: s3Uri(place), sizeBytes: bytes.length }
  const outcome = await callS3(call, async ({ client, signal, uncertain }) => {
    try {
      await client.send(
        new PutObjectCommand({
          Bucket: bucket,
          Key: key,
          Body: bytes,
          ...(ifAbsent ? { IfNoneMatch: '*' } : {}),
          ...requestPayer(),
        }),
        { abortSignal: signal },
      )
      return 'written'
    } catch (error) {
      if (!ifAbsent || failureStatus(error) !== 412) throw error
      return uncertain ? 'unknown' : 'taken'
    }
  })
  return outcome === 'unknown' ? sameObject(place, bytes) : outcome === 'written'
}

/** Deletes an object; no error when there is none. */
export async function deleteObject(place: S3Place): Promise<void> {
  const { bucket, key } = place
  await callS3(
    { action: 'Cannot delete', operation: 'DeleteObject', uri: s3Uri(place) },
    async ({ client, signal }) => {
      try {
        await client.send(new DeleteObjectCommand({ Bucket: bucket, Key: key, ...requestPayer() }), {
          abortSignal: signal,
        })
      } catch (error) {
        if (failureStatus(error) !== 404 || failureName(error) === 'NoSuchBucket') throw error
      }
    },
  )
}

export interface ListedObject extends ObjectInfo {
  key: string
}

/** Objects by prefix, in the order of the UTF-8 bytes of their keys; one page of 1,000 at a time. */
export async function* listObjects(place: S3Place, startAfter?: string): AsyncGenerator<ListedObject> {
  const { bucket, key: prefix } = place
  const page = (token: string | undefined) =>
    callS3({ action: 'Cannot list', operation: 'ListObjectsV2', uri: s3Uri(place) }, ({ client, signal }) =>
      client.send(
        new ListObjectsV2Command({
          Bucket: bucket,
          Prefix: prefix,
          EncodingType: 'url',
          ...(token ? { ContinuationToken: token } : startAfter ? { StartAfter: startAfter } : {}),
          ...requestPayer(),
        }),
        { abortSignal: signal },
      ),
    )
  let next: ReturnType<typeof page> | undefined = page(undefined)
  while (next) {
    const response: Awaited<ReturnType<typeof page>> = await next
    const token = response.IsTruncated ? response.NextContinuationToken : undefined
    // The next page is fetched while this one is used.
    next = token ? page(token) : undefined
    next?.catch(() => {})
    for (const { Key, Size, ETag, LastModified } of response.Contents ?? []) {
      if (Key === undefined) continue
      const key = response.EncodingType === 'url' ? decodeURIComponent(Key.replaceAll('+', ' ')) : Key
      yield { key, size: Size ?? 0, etag: ETag, modifiedMs: LastModified?.getTime() }
    }
  }
}

export interface UnfinishedUpload {
  key: string
  uploadId: string
  startedMs: number
}

/** Multipart uploads under a prefix that were begun and never completed. */
export async function* listUploads(place: S3Place): AsyncGenerator<UnfinishedUpload> {
  let marker: { KeyMarker?: string; UploadIdMarker?: string } = {}
  for (;;) {
    const response = await callS3(
      { action: 'Cannot list uploads of', operation: 'ListMultipartUploads', uri: s3Uri(place) },
      ({ client, signal }) =>
        client.send(new ListMultipartUploadsCommand({ Bucket: place.bucket, Prefix: place.key, ...marker }), {
          abortSignal: signal,
        }),
    )
    for (const { Key, UploadId, Initiated } of response.Uploads ?? []) {
      if (Key && UploadId) yield { key: Key, uploadId: UploadId, startedMs: Initiated?.getTime() ?? 0 }
    }
    if (!response.IsTruncated) return
    marker = { KeyMarker: response.NextKeyMarker, UploadIdMarker: response.NextUploadIdMarker }
  }
}

export async function abortUpload(place: S3Place, uploadId: string): Promise<void> {
  await callS3(
    { action: 'Cannot abort the upload of', operation: 'AbortMultipartUpload', uri: s3Uri(place) },
    async ({ client, signal }) => {
      try {
        await client.send(
          new AbortMultipartUploadCommand({ Bucket: place.bucket, Key: place.key, UploadId: uploadId }),
          { abortSignal: signal },
        )
      } catch (error) {
        if (failureStatus(error) !== 404) throw error
      }
    },
  )
}
