/** Files of datasets on the hub: patterns → addresses with the commit, and the bytes of one image. */
import { errorText, usageError, VtpError } from '../../errors.js'
import { RejectError } from '../../types.js'
import { datasetUri, listDataset, openDatasetFile, parseDatasetUri } from '../hub/datasets.js'
import { expandBraces, globToRegExp } from './patterns.js'
import type { ReadOptions } from './read-options.js'

/** `**` leads through folders; a name that ends with a slash, or none at all, is everything below that is no hidden file. */
function pathPattern(pattern: string): RegExp {
  if (pattern === '' || pattern.endsWith('/')) return new RegExp(`^${globToRegExp(pattern).source.slice(1, -1)}`)
  const source = globToRegExp(pattern.replaceAll('**/', '\0')).source
  return new RegExp(source.replaceAll('\0', '(?:[^/]+/)*'), 's')
}

/** In brace order, sorted within a pattern. Throws usage error `source_missing`, VtpErrors `hub_*`. */
export async function expandDatasetPatterns(spec: string): Promise<string[]> {
  const files = await listDataset(spec)
  const out: string[] = []
  for (const pattern of expandBraces(parseDatasetUri(spec).path)) {
    const matches = pathPattern(pattern)
    const found = files.filter(({ path }) => matches.test(path))
    if (found.length === 0) {
      const folders = [...new Set(files.map(({ path }) => path.replace(/[^/]+$/, '')))].slice(0, 5)
      throw usageError('source_missing', `${spec} matches no file of the dataset${pattern ? ` ("${pattern}")` : ''}`, [
        `its files lie in ${folders.map((folder) => folder || 'its root').join(', ') || 'no folder: it is empty'}`,
      ])
    }
    out.push(...found.map(datasetUri))
  }
  return out
}

/** The file, or a range of it. Throws RejectErrors (stage `read`) and, for the hub as a whole, VtpErrors. */
export async function readDatasetBytes(
  uri: string,
  range: { offset: number; size: number } | undefined,
  { maxBytes, signal }: ReadOptions & { maxBytes: number },
): Promise<Uint8Array> {
  try {
    const reader = await openDatasetFile(uri, signal)
    const { offset, size } = range ?? { offset: 0, size: reader.size }
    if (size > maxBytes)
      throw new RejectError('too_many_bytes', 'read', `${size} bytes are more than the limit of ${maxBytes}`)
    if (size === 0) throw new RejectError('empty', 'read', 'the file has 0 bytes')
    const bytes = await reader.read(offset, size)
    if (bytes.length !== size)
      throw new RejectError('unreadable', 'read', `it ended after ${bytes.length} of ${size} bytes`)
    return new Uint8Array(bytes)
  } catch (error) {
    if (!(error instanceof VtpError)) throw error
    if (error.code === 'not_found') throw new RejectError('not_found', 'read', 'no such file', error)
    if (error.code === 'bad_hf_uri') throw new RejectError('bad_entry', 'read', errorText(error), error)
    throw error
  }
}
