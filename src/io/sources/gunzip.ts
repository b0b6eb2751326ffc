/**
 * A gzipped archive as a local file: its members cannot be read by offset before it is unpacked. Each one is
 * unpacked once, into a temporary folder, while it is needed; the last few are kept.
 */
import { createWriteStream } from 'node:fs'
import { rm } from 'node:fs/promises'
import path from 'node:path'
import { Readable, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import { errorText, VtpError } from '../../errors.js'
import { openRangeReader, type RangeReader } from '../range-reader.js'
import { makeTempFolder } from '../temp-folder.js'

/** Archives that lie unpacked at once: reads come in order, from one or two at a time. */
const KEPT = 2
/** Images do not get smaller by compression: what grows more than this is no data set. */
const MOST_GROWTH = 100
const ALWAYS_ALLOWED_BYTES = 64 * 2 ** 20
const READ_BYTES = 2 ** 20

export interface Unpacked {
  /** The local file with the unpacked bytes of an archive. Throws VtpError `gzip_damaged` or `gzip_too_large`. */
  unpack(file: string): Promise<string>
  close(): Promise<void>
}

export async function isGzip(reader: RangeReader): Promise<boolean> {
  const start = await reader.read(0, 2)
  return start[0] === 0x1f && start[1] === 0x8b
}

export function createUnpacked(): Unpacked {
  let folder: Promise<string> | undefined
  let number = 0
  const files = new Map<string, Promise<string>>()
  return {
    unpack(file) {
      let unpacked = files.get(file)
      if (unpacked) files.delete(file)
      else {
        folder ??= makeTempFolder('unpacked')
        const name = `${number++}.tar`
        unpacked = folder.then(async (dir) => {
          await unpackInto(file, path.join(dir, name))
          return path.join(dir, name)
        })
      }
      files.set(file, unpacked)
      unpacked.catch(() => files.delete(file))
      while (files.size > KEPT) {
        const [oldest, there] = files.entries().next().value!
        files.delete(oldest)
        // Who reads from it has it open, or asks again.
        void there.then((name) => rm(name, { force: true })).catch(() => {})
      }
      return unpacked
    },
    async close() {
      await Promise.allSettled(files.values())
      if (folder) await rm(await folder, { recursive: true, force: true })
    },
  }
}

async function unpackInto(file: string, target: string): Promise<void> {
  const reader = await openRangeReader(file)
  const most = Math.max(ALWAYS_ALLOWED_BYTES, reader.size * MOST_GROWTH)
  async function* packed(): AsyncGenerator<Buffer> {
    for (let at = 0; at < reader.size; at += READ_BYTES) yield await reader.read(at, READ_BYTES)
  }
  let bytes = 0
  const bounded = new Transform({
    transform(chunk: Buffer, _, done) {
      bytes += chunk.length
      if (bytes <= most) return done(null, chunk)
      done(
        new VtpError(`${file} unpacks to more than ${MOST_GROWTH} times its size`, {
          code: 'gzip_too_large',
          suggestions: ['unpack it yourself with gunzip if you trust it'],
        }),
      )
    },
  })
  try {
    await pipeline(Readable.from(packed()), createGunzip(), bounded, createWriteStream(target, { flags: 'wx' }))
  } catch (error) {
    await rm(target, { force: true })
    if (error instanceof VtpError) throw error
    throw new VtpError(`${file} cannot be unpacked: ${errorText(error)}`, {
      code: 'gzip_damaged',
      suggestions: [
        'the file may be truncated: copy it again',
        'see whether there is space for temporary files (TMPDIR)',
      ],
      cause: error,
    })
  } finally {
    await reader.close()
  }
}
