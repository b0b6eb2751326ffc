/**
 * A folder that holds no images but files that hold them: Parquet files, or tars. Images anywhere below win, so
 * that an archive beside a tree of images is passed over, as any other file.
 */
import type { Dirent } from 'node:fs'
import { opendir, readdir } from 'node:fs/promises'
import path from 'node:path'
import { usageError } from '../../errors.js'
import type { PassedOver, Source } from '../../types.js'
import { isAppleDouble, isImageName } from './image-names.js'
import { createListingReport } from './listing-report.js'

const KINDS = { Parquet: /\.parquet$/i, tar: /\.(tar|tar\.gz|tgz)$/i } as const

/** Undefined for a folder of images, or of nothing. Throws usage error `mixed_sources` for files of both kinds. */
export async function openFolderOfFiles(
  folder: string,
  open: (files: string[]) => Promise<Source>,
): Promise<Source | undefined> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => [])
  const files = entries.filter((entry) => !entry.isDirectory() && !/^[._]/.test(entry.name)).map(({ name }) => name)
  const kinds = Object.entries(KINDS).filter(([, pattern]) => files.some((name) => pattern.test(name)))
  const [kind, other] = kinds
  if (!kind || files.some(isImageName) || (await holdsImage(folder))) return undefined
  if (other) {
    throw usageError('mixed_sources', `${folder} holds both ${kind[0]} and ${other[0]} files`, [
      `give one kind by a pattern, e.g. "${path.join(folder, '*.parquet')}"`,
    ])
  }
  const taken = files
    .filter((name) => kind[1].test(name))
    .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
  const report = createListingReport()
  for (const { name } of entries) if (!taken.includes(name)) report.passOver(name)
  return withPassedOver(await open(taken.map((name) => path.join(folder, name))), report.passedOver)
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
