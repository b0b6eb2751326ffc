/**
 * A checkpoint under `s3://`: its files come to the local cache, in a folder named by the address and the
 * versions (ETags) of the files, so another upload is another folder and what is there is never fetched twice.
 */
import { createHash } from 'node:crypto'
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { usageError, VtpError } from '../../errors.js'
import { writeAtomically } from '../../io/atomic.js'
import { downloadObject } from '../../io/s3/download.js'
import { getObject, type ListedObject, listObjects } from '../../io/s3/objects.js'
import { folderKey, parseS3Uri, s3Uri } from '../../io/s3/uri.js'
import { PLAIN_NAMES, remoteCandidate } from '../candidate.js'
import { neededFiles } from '../needed-files.js'

export interface S3ModelOptions {
  cacheDir: string
  onNote?: (line: string) => void
}

/** Objects below a prefix, at most: a bucket of images given by mistake is not listed to its end. */
const MOST_OBJECTS = 2000
const FILE = /\.(safetensors|bin|pt|pth|ckpt|json|ya?ml)$/

/** The local folder with the files that the model's family needs, and the model's name. Throws usage error `model_missing`. */
export async function resolveS3Model(
  uri: string,
  { cacheDir, onNote }: S3ModelOptions,
): Promise<{ folder: string; name: string; file?: string }> {
  const { bucket, key } = parseS3Uri(uri)
  const base = path.posix.basename(key)
  const isFile = FILE.test(base)
  const file = isFile && !PLAIN_NAMES.test(base) ? base : undefined
  const prefix = folderKey(isFile ? key.slice(0, -base.length).replace(/\/$/, '') : key)
  const files: ListedObject[] = []
  for await (const object of listObjects({ bucket, key: prefix })) {
    if (files.length === MOST_OBJECTS) break
    files.push(object)
  }
  if (files.length === 0) {
    throw usageError('model_missing', `There is no model at ${uri}`, [
      'give the prefix that holds config.json and model.safetensors',
    ])
  }
  const readText = async (name: string): Promise<string> =>
    Buffer.from((await getObject({ bucket, key: prefix + name })).bytes).toString()
  const listed = files.map((object) => object.key.slice(prefix.length))
  const names = await neededFiles(remoteCandidate(uri, listed, readText, file))
  const needed = files.filter((object) => names.includes(object.key.slice(prefix.length)))
  const seen = needed.map(({ key: name, size, etag }) => `${name}\n${size}\n${etag}`)
  const digest = createHash('sha256')
    .update(`${bucket}\n${seen.join('\n')}`)
    .digest('hex')
    .slice(0, 32)
  const folder = path.join(cacheDir, 'models', digest)
  for (const { key: name, size } of needed) {
    const file = path.join(folder, name.slice(prefix.length))
    if ((await stat(file).catch(() => undefined))?.size === size) continue
    onNote?.(`Downloading ${s3Uri({ bucket, key: name })} (${size} bytes)`)
    await writeAtomically(file, async (tmp) => {
      await downloadObject(s3Uri({ bucket, key: name }), tmp)
      if ((await stat(tmp)).size !== size)
        throw new VtpError(`${s3Uri({ bucket, key: name })} changed while it was read`, { code: 's3_changed' })
    })
  }
  const name = file === undefined ? path.posix.basename(prefix) || bucket : path.posix.parse(file).name
  return { folder, name, file }
}
