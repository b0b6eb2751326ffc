/**
 * Files of any size as objects: one request up to 16 MiB, else a multipart upload whose parts are read
 * from the file as they are sent, four at a time (64 MiB in all). The name is taken when the upload is
 * completed, so nobody ever sees half an object. Every part travels with a CRC-32.
 */
import { createHash } from 'node:crypto'
import { open, readFile, stat } from 'node:fs/promises'
import {
  type CompletedPart,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import { VtpError } from '../../errors.js'
import { callS3, requestPayer } from './client.js'
import { failureName, failureStatus } from './errors.js'
import { abortUpload, getObject, headObject, putObject } from './objects.js'
import { type S3Place, s3Uri } from './uri.js'

const SINGLE_BYTES = 16 * 2 ** 20
const MOST_PARTS = 9_000
const PARTS_AT_ONCE = 4
const RANGE_BYTES = 8 * 2 ** 20

/** SHA-256 (hex) of an object, read in ranges of 8 MiB of one version. Throws VtpError `not_found`. */
export async function hashObject(place: S3Place): Promise<string> {
  const hash = createHash('sha256')
  for await (const bytes of readObject(place)) hash.update(bytes)
  return hash.digest('hex')
}

/** An object from front to back, two ranges ahead of the reader. Throws VtpError `not_found`. */
export async function* readObject(place: S3Place): AsyncGenerator<Buffer> {
  const info = await headObject(place)
  if (!info) throw new VtpError(`${s3Uri(place)} does not exist`, { code: 'not_found' })
  const ahead: Promise<{ bytes: Buffer }>[] = []
  let asked = 0
  for (let at = 0; at < info.size; ) {
    while (ahead.length < 2 && asked < info.size) {
      const range = { offset: asked, size: Math.min(RANGE_BYTES, info.size - asked) }
      const next = getObject(place, { range, etag: info.etag })
      next.catch(() => {})
      ahead.push(next)
      asked += range.size
    }
    const { bytes } = await ahead.shift()!
    at += bytes.length
    yield bytes
  }
}

/** Writes a local file as an object; with `ifAbsent` false comes back when the name is taken. */
export async function putFileObject(
  place: S3Place,
  file: string,
  ifAbsent: boolean,
  sha256?: string,
): Promise<boolean> {
  const { size } = await stat(file)
  if (size <= SINGLE_BYTES) {
    const bytes = await readFile(file)
    assertUnchanged(file, sha256, () => createHash('sha256').update(bytes).digest('hex'))
    return putObject(place, bytes, ifAbsent)
  }
  if (sha256 !== undefined) {
    const now = await hashFile(file)
    assertUnchanged(file, sha256, () => now)
  }
  // A name that is taken is found out before the bytes are sent; the condition at the end still decides.
  if (ifAbsent && (await headObject(place))) return false
  for (let attempt = 1; ; attempt++) {
    const outcome = await uploadOnce(place, file, size, ifAbsent)
    if (outcome === 'written') return true
    if (outcome === 'taken') return false
    // The answer was lost: what is there says whether it was ours.
    const there = await headObject(place)
    if (there) {
      const same = there.size === size && (await hashObject(place)) === (await hashFile(file))
      if (same || ifAbsent) return same
    }
    if (attempt === 3) {
      throw new VtpError(`Cannot write ${s3Uri(place)}: its uploads vanish before they are completed`, {
        code: 's3_upload_lost',
        suggestions: ['check that no rule of the bucket aborts unfinished uploads within minutes'],
      })
    }
  }
}

function assertUnchanged(file: string, expected: string | undefined, actual: () => string): void {
  if (expected === undefined || actual() === expected) return
  throw new VtpError(`${file} is not what was written to it: it is not uploaded`, {
    code: 'file_changed',
    suggestions: ['check the disk of the temporary folder (TMPDIR), and run the same command again'],
  })
}

async function hashFile(file: string): Promise<string> {
  const hash = createHash('sha256')
  const handle = await open(file)
  try {
    for await (const chunk of handle.createReadStream({ highWaterMark: 1 << 20, autoClose: false }))
      hash.update(chunk as Buffer)
  } finally {
    await handle.close()
  }
  return hash.digest('hex')
}

async function uploadOnce(
  place: S3Place,
  file: string,
  size: number,
  ifAbsent: boolean,
): Promise<'written' | 'taken' | 'unknown'> {
  const { bucket, key } = place
  const uri = s3Uri(place)
  const target = { Bucket: bucket, Key: key }
  const created = await callS3(
    { action: 'Cannot write', operation: 'CreateMultipartUpload', uri },
    ({ client, signal }) =>
      client.send(new CreateMultipartUploadCommand({ ...target, ChecksumAlgorithm: 'CRC32', ...requestPayer() }), {
        abortSignal: signal,
      }),
  )
  const uploadId = created.UploadId!
  const partBytes = Math.max(SINGLE_BYTES, Math.ceil(size / MOST_PARTS))
  const count = Math.ceil(size / partBytes)
  const parts: CompletedPart[] = []
  const handle = await open(file)
  try {
    let next = 0
    const sendParts = async (): Promise<void> => {
      while (next < count) {
        const index = next++
        const bytes = Buffer.alloc(Math.min(partBytes, size - index * partBytes))
        for (let done = 0; done < bytes.length; ) {
          const { bytesRead } = await handle.read(bytes, done, bytes.length - done, index * partBytes + done)
          if (bytesRead === 0) throw new VtpError(`${file} became shorter while it was sent`, { code: 'file_changed' })
          done += bytesRead
        }
        const sent = await callS3(
          { action: 'Cannot write', operation: 'UploadPart', uri, sizeBytes: bytes.length },
          ({ client, signal }) =>
            client.send(
              new UploadPartCommand({
                ...target,
                UploadId: uploadId,
                PartNumber: index + 1,
                Body: bytes,
                ChecksumAlgorithm: 'CRC32',
                ...requestPayer(),
              }),
              { abortSignal: signal },
            ),
        )
        parts[index] = { PartNumber: index + 1, ETag: sent.ETag, ChecksumCRC32: sent.ChecksumCRC32 }
      }
    }
    await Promise.all(Array.from({ length: Math.min(PARTS_AT_ONCE, count) }, sendParts))
    const outcome = await callS3(
      { action: 'Cannot write', operation: 'CompleteMultipartUpload', uri },
      async ({ client, signal, uncertain }) => {
        try {
          await client.send(
            new CompleteMultipartUploadCommand({
              ...target,
              UploadId: uploadId,
              MultipartUpload: { Parts: parts },
              ...(ifAbsent ? { IfNoneMatch: '*' } : {}),
              ...requestPayer(),
            }),
            { abortSignal: signal },
          )
          return 'written' as const
        } catch (error) {
          if (failureStatus(error) === 412) return uncertain ? ('unknown' as const) : ('taken' as const)
          // A conflict ends this upload: another one has to be begun.
          if (failureStatus(error) === 409 || failureName(error) === 'NoSuchUpload') return 'unknown' as const
          throw error
        }
      },
    )
    if (outcome !== 'written') await abortUpload(place, uploadId).catch(() => {})
    return outcome
  } catch (error) {
    await abortUpload(place, uploadId).catch(() => {})
    throw error
  } finally {
    await handle.close()
  }
}
