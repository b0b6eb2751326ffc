/** What a model is: its settings' values and its files' bytes. Part of every plan and of the cache's keys. */
import { createHash } from 'node:crypto'
import path from 'node:path'
import { fileDigest } from '../io/file-digest.js'

/** SHA-256 (hex) over settings, whatever their order, and the bytes of `files`, in their order. */
export async function checkpointDigest(settings: object, files: readonly string[], cacheDir: string): Promise<string> {
  const hash = createHash('sha256')
  const sorted = Object.entries(settings).sort(([a], [b]) => (a < b ? -1 : 1))
  hash.update(JSON.stringify(sorted))
  for (const file of files) hash.update(`\n${path.basename(file)} ${await fileDigest(file, cacheDir)}`)
  return hash.digest('hex')
}
