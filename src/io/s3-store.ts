/**
 * A prefix of a bucket as a store. Conditional writes (`If-None-Match: *`) make put-if-absent exact on
 * stores that honour them (probe.ts finds out). Files wait for their upload in a local folder.
 */
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { VtpError } from '../errors.js'
import { deleteObject, getObject, headObject, listObjects, putObject } from './s3/objects.js'
import { hashObject, putFileObject } from './s3/upload.js'
import { folderKey, parseS3Uri, type S3Place, s3Uri } from './s3/uri.js'
import { storageError } from './storage-error.js'
import type { Store } from './store.js'
import { makeTempFolder } from './temp-folder.js'

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
    async *names(start) {
      for await (const { name } of this.list(start)) yield name
    },
    async stat(name) {
      return headObject(resolve(name))
    },
    get: async (name, range) => (await getObject(resolve(name), { range })).bytes,
    async put(name, bytes) {
      await putObject(resolve(name), bytes)
    },
    putIfAbsent: async (name, bytes) => putObject(resolve(name), bytes, true),
    async putFile(name, file, { ifAbsent, keep = false, keepIfTaken = false, sha256 }) {
      const stored = await putFileObject(resolve(name), file, ifAbsent, sha256)
      if (!keep && (stored || !keepIfTaken)) await rm(file, { force: true })
      return stored
    },
    delete: async (name) => deleteObject(resolve(name)),
    sha256: async (name) => hashObject(resolve(name)),
    async tempDir() {
      try {
        temp ??= await makeTempFolder('upload')
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
