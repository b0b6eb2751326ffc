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

const WANTED = /^(config\.json|model\.safetensors|model\.safetensors\.index\.json|[\w.-]+\.safetensors)$/

export interface S3ModelOptions {
  cacheDir: string
  onNote?: (line: string) => void
}

/** Downloads `config.json` and the weights; returns the folder. Throws usage error `model_missing`. */
export async function resolveS3Model(uri: string, { cacheDir, onNote }: S3ModelOptions): Promise<string> {
  const { bucket, key } = parseS3Uri(uri)
  const prefix = folderKey(key.replace(/(^|\/)(config\.json|model\.safetensors)$/, ''))
  const files: ListedObject[] = []
  for await (const object of listObjects({ bucket, key: prefix })) {
    if (WANTED.test(object.key.slice(prefix.length))) files.push(object)
  }
  const names = await neededFiles(bucket, prefix, files)
  if (!names.includes('config.json') || names.length < 2) {
    throw usageError('model_missing', `There is no model at ${uri}`, [
      'give the prefix that holds config.json and model.safetensors',
    ])
  }
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
  return folder
}

/** One weight file, or the index and the shards that it lists. Other files of the prefix are left alone. */
async function neededFiles(bucket: string, prefix: string, files: ListedObject[]): Promise<string[]> {
  const there = new Set(files.map((object) => object.key.slice(prefix.length)))
  const base = ['config.json'].filter((name) => there.has(name))
  if (there.has('model.safetensors')) return [...base, 'model.safetensors']
  const index = 'model.safetensors.index.json'
  if (!there.has(index)) return base
  const { bytes } = await getObject({ bucket, key: prefix + index })
  try {
    const { weight_map: map } = JSON.parse(bytes.toString()) as { weight_map: Record<string, string> }
    return [...base, index, ...new Set(Object.values(map).filter((name) => there.has(name)))]
  } catch (error) {
    throw new VtpError(`${s3Uri({ bucket, key: prefix + index })} is not the index of a sharded checkpoint`, {
      code: 'bad_index',
      cause: error,
    })
  }
}
