/**
 * A folder that holds no images but files that hold them: Parquet files, or tars. Images anywhere below win, so
 * that an archive beside a tree of images is passed over, as any other file.
 */
import type { Dirent } from 'node:fs'
import { opendir, readdir } from 'node:fs/promises'
import path from 'node:path'
import { usageError } from '../../errors.js'
import type { PassedOver, Source } from '../../types.js'
import { uriScheme } from '../store.js'
import { isAppleDouble, isImageName } from './image-names.js'
import { createListingReport } from './listing-report.js'

const KINDS = { Parquet: /\.parquet$/i, tar: /\.(tar|tar\.gz|tgz)$/i } as const

/** Undefined for a folder of images, or of nothing. Throws usage error `mixed_sources` for files of both kinds. */
export async function openFolderOfFiles(
  folder: string,
  open: (files: string[]) => Promise<Source>,
): Promise<Source | undefined> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => [])
  const files = entries.filter((entry) => !entry.isDirectory()).map(({ name }) => name)
  if (!files.some(isOfKind) || files.some(isImageName) || (await holdsImage(folder))) return undefined
  return openOneKind(
    folder,
    files,
    entries.map(({ name }) => name),
    open,
  )
}

/** The same for an `s3://` prefix. Its listing is read up to the first image. */
export async function openPrefixOfFiles(
  spec: string,
  open: (files: string[]) => Promise<Source>,
): Promise<Source | undefined> {
  const [{ listObjects }, { folderKey, parseS3Uri }] = await Promise.all([
    import('../s3/objects.js'),
    import('../s3/uri.js'),
  ])
  const { bucket, key } = parseS3Uri(spec)
  const prefix = folderKey(key)
  const all = new Set<string>()
  const files: string[] = []
  for await (const object of listObjects({ bucket, key: prefix })) {
    const [first = '', ...rest] = object.key.slice(prefix.length).split('/')
    const file = rest.at(-1) ?? first
    if (isImageName(file) && !isAppleDouble(file)) return undefined
    if (first !== '') all.add(first)
    if (rest.length === 0 && first !== '') files.push(first)
  }
  return files.some(isOfKind) ? openOneKind(spec.replace(/\/+$/, ''), files, [...all], open) : undefined
}

const isHidden = (name: string): boolean => /^[._]/.test(name)
const isOfKind = (name: string): boolean =>
  !isHidden(name) && Object.values(KINDS).some((pattern) => pattern.test(name))

/** `files` lie in `folder` itself; `all` are those and its inner folders. */
async function openOneKind(
  folder: string,
  files: string[],
  all: string[],
  open: (files: string[]) => Promise<Source>,
): Promise<Source> {
  const inFolder = (name: string): string =>
    uriScheme(folder) === undefined ? path.join(folder, name) : `${folder}/${name}`
  const shown = files.filter((name) => !isHidden(name))
  const [kind, other] = Object.entries(KINDS).filter(([, pattern]) => shown.some((name) => pattern.test(name)))
  if (other) {
    throw usageError('mixed_sources', `${folder} holds both ${kind![0]} and ${other[0]} files`, [
      `give one kind by a pattern, e.g. "${inFolder('*.parquet')}"`,
    ])
  }
  const taken = shown
    .filter((name) => kind![1].test(name))
    .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
  const report = createListingReport()
  for (const name of all) if (!taken.includes(name)) report.passOver(name)
  return withPassedOver(await open(taken.map(inFolder)), report.passedOver)
}

/** Whether an image lies anywhere below; stops at the first one. */
async function holdsImage(folder: string): Promise<boolean> {
  const inner: string[] = []
  const entries = await opendir(folder).catch(() => undefined)
  for await (const entry of (entries ?? []) as AsyncIterable<Dirent>) {
    if (entry.isDirectory()) inner.push(path.join(folder, entry.name))
    else if (isImageName(entry.name) && !isAppleDouble(entry.name)) return true
  }
  for (const name of inner) if (await holdsImage(name)) return true
  return false
}

function withPassedOver(source: Source, more: PassedOver): Source {
  return Object.create(source, {
    passedOver: {
      get: (): PassedOver => {
        const { count, examples } = source.passedOver
        return { count: count + more.count, examples: [...more.examples, ...examples].slice(0, 3) }
      },
    },
  }) as Source
}
