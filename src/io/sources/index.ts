/** From what the user calls SOURCE to a `Source`. A new kind of source is one file here and one line below. */
import { stat } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { errorText, systemCode, usageError, VtpError } from '../../errors.js'
import type { Source } from '../../types.js'
import { unsupportedScheme, uriScheme } from '../store.js'
import { openFolder } from './folder.js'
import { expandPatterns } from './patterns.js'

export interface SourceOptions {
  /** The standard input, for SOURCE `-`. */
  stdin?: AsyncIterable<Uint8Array>
  /** Name of the image column of Parquet files; found by itself otherwise. */
  imageColumn?: string
  /** Largest file of one image in bytes. */
  maxBytes?: number
  /** Whether http(s) addresses in lists may lead to private networks. */
  allowPrivateUrls?: boolean
}

const HELP = [
  'SOURCE is a folder, a list (.txt, .jsonl or - for stdin), tar shards (a.tar, a glob or "a-{000..009}.tar"), or .parquet files; each of them also under s3://bucket/',
  'or the output of `vtp encode --outputs pixels`',
]

/** Opens a source by what its name looks like. Throws usage errors that name the kinds there are. */
export async function openSource(spec: string, options: SourceOptions = {}): Promise<Source> {
  const scheme = uriScheme(spec)
  if (scheme === 's3') return openRemoteSource(spec, options)
  if (scheme && scheme !== 'file') throw unsupportedScheme(spec, scheme)
  const name = scheme ? fileURLToPath(spec) : spec
  if (name === '-' || /\.(txt|jsonl)$/i.test(name)) {
    const { openList } = await import('./list.js')
    return openList(name, options)
  }
  const info = await stat(name).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') return undefined
    throw new VtpError(`${name} cannot be read: ${errorText(error)}`, { code: 'source_unreadable', cause: error })
  })
  if (info?.isDirectory()) {
    const { isRunFolder, openRunFolder } = await import('./shards.js')
    return (await isRunFolder(name)) ? openRunFolder(name) : openFolder(name, options)
  }
  const files = info ? [name] : await expandPatterns(name)
  if (files.length === 0) throw usageError('source_missing', `${name} does not exist, and matches no file`, HELP)
  return openFiles(files, options)
}

/** In a bucket names alone tell the kind: there are no folders that could be called a.tar. */
async function openRemoteSource(spec: string, options: SourceOptions): Promise<Source> {
  const { parseS3Uri } = await import('../s3/uri.js')
  parseS3Uri(spec)
  if (/\.(txt|jsonl)$/i.test(spec)) return (await import('./list.js')).openList(spec, options)
  if (/[*?{]/.test(spec) || /\.(tar|parquet|tgz|tar\.\w+)$/i.test(spec)) {
    const { expandObjectPatterns } = await import('./s3-patterns.js')
    const files = await expandObjectPatterns(spec)
    if (files.length === 0) throw usageError('source_missing', `${spec} does not exist, and matches no object`, HELP)
    return openFiles(files, options)
  }
  return (await import('./s3-prefix.js')).openS3Prefix(spec, options)
}

async function openFiles(files: string[], options: SourceOptions): Promise<Source> {
  if (files.every((file) => /\.tar$/i.test(file))) {
    const { openTars } = await import('./tar.js')
    return openTars(files, options)
  }
  if (files.every((file) => /\.(arrow|parquet)$/i.test(file))) {
    const { hasPixels, openPixelShards } = await import('./shards.js')
    if (files.some((file) => /\.arrow$/i.test(file)) || (await hasPixels(files[0]!))) return openPixelShards(files)
  }
  if (files.every((file) => /\.parquet$/i.test(file))) {
    const { openParquet } = await import('./parquet.js')
    return openParquet(files, options)
  }
  if (files.some((file) => /\.(tar\.\w+|tgz)$/i.test(file))) {
    throw usageError('compressed_tar', `${files[0]} is a compressed tar: its members cannot be read by offset`, [
      'unpack it once, e.g. with gunzip: images do not get smaller by compression',
    ])
  }
  throw usageError('unknown_source', `${files[0]} is no kind of source`, HELP)
}
