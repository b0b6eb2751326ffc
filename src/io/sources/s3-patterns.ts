/** Globs and brace ranges over the objects of a bucket → existing objects, in patterns.ts's order. */
import { usageError } from '../../errors.js'
import { headObject, listObjects } from '../s3/objects.js'
import { parseS3Uri, s3Uri } from '../s3/uri.js'
import { expandBraces, globToRegExp } from './patterns.js'

const LOOKUPS_AT_ONCE = 32

/** A brace name that is missing is an error, as on a disk. */
export async function expandObjectPatterns(pattern: string): Promise<string[]> {
  const names = expandBraces(pattern)
  const out: string[] = []
  for (let i = 0; i < names.length; i += LOOKUPS_AT_ONCE) {
    const part = names.slice(i, i + LOOKUPS_AT_ONCE)
    const found = await Promise.all(part.map((name) => (/[*?[]/.test(name) ? expandGlob(name) : lookUp(name))))
    found.forEach((files, k) => {
      if (files.length === 0 && names.length > 1 && !/[*?[]/.test(part[k]!)) {
        throw usageError('source_missing', `${part[k]} (of ${pattern}) does not exist`, [
          'check the range, or give a glob such as train-*.tar',
        ])
      }
      out.push(...files)
    })
  }
  return out
}

async function lookUp(uri: string): Promise<string[]> {
  return (await headObject(parseS3Uri(uri))) ? [uri] : []
}

async function expandGlob(glob: string): Promise<string[]> {
  const { bucket, key } = parseS3Uri(glob)
  const matches = globToRegExp(key)
  const out: string[] = []
  for await (const object of listObjects({ bucket, key: key.slice(0, key.search(/[*?[]/)) })) {
    if (matches.test(object.key)) out.push(s3Uri({ bucket, key: object.key }))
  }
  return out
}
