/** Digests of files, remembered by what a file looks like from outside, so that gigabytes are read once. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { readCachedJson, writeCachedJson } from './cache.js'

/** SHA-256 (hex) of a file's bytes, remembered by path, size, inode and modification time. */
export async function fileDigest(file: string, cacheDir: string): Promise<string> {
  const { size, mtimeMs, ino } = await stat(file)
  const seen = `${path.resolve(file)}\n${size}\n${mtimeMs}\n${ino}`
  const entry = path.join(cacheDir, 'digests', `${createHash('sha256').update(seen).digest('hex').slice(0, 32)}.json`)
  const cached = await readCachedJson(entry)
  if (typeof cached === 'string' && /^[0-9a-f]{64}$/.test(cached)) return cached
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer)
  const digest = hash.digest('hex')
  await writeCachedJson(entry, digest)
  return digest
}
