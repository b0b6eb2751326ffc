/**
 * A prefix of a bucket as a store. Conditional writes (`If-None-Match: *`) make put-if-absent exact on
 * stores that honour them; `probeConditions` finds out. Files wait for their upload in a local folder.
 */
import { randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { VtpError } from '../errors.js'
import { storageError } from './local-store.js'
import { deleteObject, getObject, headObject, listObjects, putObject } from './s3/objects.js'
import { hashObject, putFileObject } from './s3/upload.js'
import { folderKey, parseS3Uri, type S3Place, s3Uri } from './s3/uri.js'
import type { Store } from './store.js'

export function openS3Store(uri: string): Store {
  const base = parseS3Uri(uri)
  const prefix = folderKey(base.key)
  let temp: string | undefined
  const resolve = (name: string): S3Place => {
    const parts = name.split('/')
    if (name === '' || parts.includes('..') || parts.includes('.') || parts.includes('') || name.includes('\0')) {
      throw new VtpError(`The name "${name}" leads out of ${uri}`, { code: 'bad_name' })
    }
    return { bucket: base.bucket, key: prefix + name }
  }
  return {
    uri: s3Uri({ bucket: base.bucket, key: prefix }).replace(/\/$/, ''),
    async *list(start) {
      for await (const object of listObjects({ bucket: base.bucket, key: prefix + start })) {
        const name = object.key.slice(prefix.length)
        // Some tools mark folders by empty objects.
        if (name === '' || name.endsWith('/')) continue
        yield { name, size: object.size, modifiedMs: object.modifiedMs }
      }
    },
    async stat(name) {
      return headObject(resolve(name))
    },
    get: async (name, range) => (await getObject(resolve(name), { range })).bytes,
    async put(name, bytes) {
      await putObject(resolve(name), bytes)
    },
    putIfAbsent: async (name, bytes) => putObject(resolve(name), bytes, true),
    async putFile(name, file, { ifAbsent, keep = false }) {
      const stored = await putFileObject(resolve(name), file, ifAbsent)
      if (!keep) await rm(file, { force: true })
      return stored
    },
    delete: async (name) => deleteObject(resolve(name)),
    sha256: async (name) => hashObject(resolve(name)),
    async tempDir() {
      try {
        temp ??= await mkdtemp(path.join(tmpdir(), 'vtp-upload-'))
      } catch (error) {
        throw storageError('Cannot make a folder in', tmpdir(), error)
      }
      return temp
    },
    async close() {
      if (temp) await rm(temp, { recursive: true, force: true })
    },
  }
}

/** Whether the store refuses to write over an object when it is asked to. Leaves nothing behind. */
export async function honoursConditions(store: Store): Promise<boolean> {
  const name = `_vtp/probe-${randomUUID()}`
  try {
    if (!(await store.putIfAbsent(name, Buffer.from('first\n')))) return false
    const second = await store.putIfAbsent(name, Buffer.from('second\n'))
    return !second && Buffer.from(await store.get(name)).toString() === 'first\n'
  } finally {
    await store.delete(name)
  }
}
