/** From what the user calls SOURCE to a `Source`. A new kind of source is one file here and one line below. */
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { errorText, systemCode, usageError, VtpError } from '../../errors.js'
import type { Source } from '../../types.js'
import { unsupportedScheme, uriScheme } from '../store.js'
import { openFolder } from './folder.js'
import { openFolderOfFiles, openPrefixOfFiles } from './folder-of-files.js'
import { isImageName } from './image-names.js'
import { limitSource } from './limit.js'
import type { SourceOptions } from './options.js'
import { expandPatterns } from './patterns.js'

export type { FieldNames, SourceOptions } from './options.js'

const LIST_NAME = /\.(txt|jsonl|ndjson|csv|tsv)$/i
const TAR_NAME = /\.(tar|tar\.gz|tgz)$/i

const HELP = [
  'SOURCE is a folder, an image, a list (.txt, .jsonl, .csv, .tsv or - for stdin), tar shards (a.tar, a.tar.gz, a glob or "a-{000..009}.tar"), or .parquet files; each of them also under s3://bucket/',
  'or files of a dataset on the hub: "hf://datasets/ORG/NAME/train-*.parquet" (images, tars or Parquet)',
  'or the output of `vtp encode --outputs pixels`, or a folder of `datasets.save_to_disk`',
]

/** Opens a source by what its name looks like. Throws usage errors that name the kinds there are. */
export async function openSource(spec: string, options: SourceOptions = {}): Promise<Source> {
  const scheme = uriScheme(spec)
  if (scheme === 's3') return openRemoteSource(spec, options)
  if (scheme === 'hf') return openHubSource(spec, options)
  if (scheme && scheme !== 'file') throw unsupportedScheme(spec, scheme)
  const name = scheme ? fileURLToPath(spec) : spec
  const info = await stat(name).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') return undefined
    throw new VtpError(`${name} cannot be read: ${errorText(error)}`, { code: 'source_unreadable', cause: error })
  })
  if (name === '-' || (LIST_NAME.test(name) && !info?.isDirectory())) {
    const { openList } = await import('./list.js')
    return openList(name, options)
  }
  if (info?.isDirectory()) return openLocalFolder(name, options)
  // A pipe can be read once, as the standard input: `vtp encode <(ls photos/*.jpg)`.
  if (info?.isFIFO()) return (await import('./list.js')).openList('-', { ...options, stdin: createReadStream(name) })
  const files = info ? [name] : await expandPatterns(name)
  if (files.length === 0) throw usageError('source_missing', `${name} does not exist, and matches no file`, HELP)
  return openFiles(files, options)
}

async function openLocalFolder(folder: string, options: SourceOptions): Promise<Source> {
  const { isRunFolder, openRunFolder } = await import('./shards.js')
  if (await isRunFolder(folder)) return limitSource(await openRunFolder(folder, options), options)
  const { isSavedDataset, openSavedDataset } = await import('./saved-dataset.js')
  if (await isSavedDataset(folder)) return openSavedDataset(folder, options)
  return (await openFolderOfFiles(folder, (files) => openFiles(files, options))) ?? openFolder(folder, options)
}

/** In a bucket names alone tell the kind: there are no folders that could be called a.tar. */
async function openRemoteSource(spec: string, options: SourceOptions): Promise<Source> {
  const { parseS3Uri } = await import('../s3/uri.js')
  parseS3Uri(spec)
  if (LIST_NAME.test(spec)) return (await import('./list.js')).openList(spec, options)
  if (/[*?{]/.test(spec) || /\.(tar|parquet|tgz|tar\.\w+|arrow|safetensors|npz)$/i.test(spec) || isImageName(spec)) {
    const { expandObjectPatterns } = await import('./s3-patterns.js')
    const files = await expandObjectPatterns(spec)
    if (files.length === 0) throw usageError('source_missing', `${spec} does not exist, and matches no object`, HELP)
    return openFiles(files, options)
  }
  const { isRunFolder, openRunFolder } = await import('./shards.js')
  if (await isRunFolder(spec)) return limitSource(await openRunFolder(spec, options), options)
  const { isSavedDataset, openSavedDataset } = await import('./saved-dataset.js')
  if (await isSavedDataset(spec)) return openSavedDataset(spec, options)
  const files = await openPrefixOfFiles(spec, (names) => openFiles(names, options))
  return files ?? (await import('./s3-prefix.js')).openS3Prefix(spec, options)
}

/** Images, tars or Parquet files; without a pattern, Parquet files win over tars, and tars over images. */
async function openHubSource(spec: string, options: SourceOptions): Promise<Source> {
  const { expandDatasetPatterns } = await import('./hub-files.js')
  const files = await expandDatasetPatterns(spec)
  const isFolder = /^hf:\/\/datasets\/[^/]+\/[^/]+$|\/$/i.test(spec)
  if (!isFolder) return openFiles(files, options)
  const kinds = [/\.parquet$/i, TAR_NAME]
  const kind = kinds.find((pattern) => files.some((file) => pattern.test(file)))
  const taken = files.filter((file) => (kind ? kind.test(file) : isImageName(file)))
  if (taken.length === 0) throw usageError('source_missing', `${spec} holds no Parquet files, tars or images`, HELP)
  return openFiles(taken, options)
}

async function openFiles(files: string[], options: SourceOptions): Promise<Source> {
  if (files.every((file) => TAR_NAME.test(file))) {
    const { openTars } = await import('./tar.js')
    return openTars(files, options)
  }
  if (files.every((file) => /\.(arrow|parquet|safetensors)$/i.test(file))) {
    const { hasPixels, openPixelShards } = await import('./shards.js')
    if (files.some((file) => !/\.parquet$/i.test(file)) || (await hasPixels(files[0]!)))
      return limitSource(await openPixelShards(files, options), options)
  }
  if (files.every((file) => /\.parquet$/i.test(file))) {
    const { openParquet } = await import('./parquet.js')
    return openParquet(files, options)
  }
  if (files.length === 1 && /\.npz$/i.test(files[0]!))
    return limitSource(await (await import('./npz.js')).openNpzImages(files[0]!), options)
  if (files.every((file) => isImageName(file))) {
    const { openImages } = await import('./images.js')
    return openImages(files, options)
  }
  const packed = files.find((file) => /\.(tar\.\w+|tbz2?|txz|tzst)$/i.test(file) && !TAR_NAME.test(file))
  if (packed) {
    throw usageError('compressed_tar', `${packed} is a compressed tar: its members cannot be read by offset`, [
      'unpack it once (or pack it with gzip): images do not get smaller by compression',
    ])
  }
  const odd = files.find((file) => path.extname(file) !== path.extname(files[0]!)) ?? files[0]!
  throw usageError(
    'unknown_source',
    `${odd} is not a kind of source${files.length > 1 ? ' that the others are' : ''}`,
    HELP,
  )
}
