/** A file or an object that is read in ranges: what tar, Parquet and list sources stand on. */
import { open } from 'node:fs/promises'
import { VtpError } from '../errors.js'
import { uriScheme } from './store.js'

export interface RangeReader {
  /** Path, `s3://…` or `hf://…`. */
  readonly uri: string
  readonly size: number
  /** The version that is read, where the store tells. */
  readonly etag?: string
  /** Bytes that are worth reading at once: a round trip costs about as much. */
  readonly windowBytes: number
  /** The range; shorter only where the file ends. */
  read(offset: number, size: number): Promise<Buffer>
  close(): Promise<void>
}

const LOCAL_WINDOW_BYTES = 16 * 1024
const REMOTE_WINDOW_BYTES = 2 ** 20

/** Opens a local path, an `s3://` or an `hf://` address. Throws system errors for paths and VtpErrors for objects. */
export async function openRangeReader(uri: string): Promise<RangeReader> {
  const scheme = uriScheme(uri)
  if (scheme === 's3') return openRemote(uri)
  if (scheme === 'hf') {
    const file = await (await import('./hub/datasets.js')).openDatasetFile(uri)
    return { ...file, uri, windowBytes: REMOTE_WINDOW_BYTES, close: async () => {} }
  }
  const handle = await open(uri)
  try {
    const { size } = await handle.stat()
    return {
      uri,
      size,
      windowBytes: LOCAL_WINDOW_BYTES,
      async read(offset, bytes) {
        const out = Buffer.alloc(Math.max(0, Math.min(bytes, size - offset)))
        for (let done = 0; done < out.length; ) {
          const { bytesRead } = await handle.read(out, done, out.length - done, offset + done)
          if (bytesRead === 0) return out.subarray(0, done)
          done += bytesRead
        }
        return out
      },
      close: () => handle.close(),
    }
  } catch (error) {
    await handle.close()
    throw error
  }
}

async function openRemote(uri: string): Promise<RangeReader> {
  const [{ getObject, headObject }, { parseS3Uri }] = await Promise.all([
    import('./s3/objects.js'),
    import('./s3/uri.js'),
  ])
  const place = parseS3Uri(uri)
  const info = await headObject(place)
  if (!info) throw new VtpError(`${uri} does not exist`, { code: 'not_found' })
  const { size, etag } = info
  return {
    uri,
    size,
    etag,
    windowBytes: REMOTE_WINDOW_BYTES,
    async read(offset, bytes) {
      const length = Math.max(0, Math.min(bytes, size - offset))
      return (await getObject(place, { range: { offset, size: length }, etag })).bytes
    },
    close: async () => {},
  }
}

/** Small reads in ascending order, served from windows of the reader. */
export function windowed({
  windowBytes,
  read,
}: {
  windowBytes: number
  read(offset: number, size: number): Promise<Uint8Array>
}): (offset: number, size: number) => Promise<Buffer> {
  let start = 0
  let window: Buffer = Buffer.alloc(0)
  return async (offset, size) => {
    if (offset < start || offset + size > start + window.length) {
      const bytes = await read(offset, Math.max(size, windowBytes))
      start = offset
      window = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
    }
    return window.subarray(offset - start, offset - start + size)
  }
}
